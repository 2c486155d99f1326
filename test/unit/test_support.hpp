// What the unit tests share.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/error.hpp"

namespace plydisk::test {

// A folder of its own, gone at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "plydisk-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw_errno("cannot make a folder for a test");
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The error that `run` throws; code 0 if it throws none.
template <typename Fn>
Error error_of(Fn&& run) {
  try {
    run();
  } catch (const Error& error) {
    return error;
  }
  return Error(0, "no error");
}

inline bool mentions(const Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

}  // namespace plydisk::test
