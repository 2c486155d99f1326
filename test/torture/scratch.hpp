// A folder of its own for a test, in memory where possible, gone when the test ends.
#pragma once

#include <filesystem>
#include <string>

namespace plydisk::torture {

class Scratch {
 public:
  // `keep`: leave it there, to look at.
  explicit Scratch(bool keep = false);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool keep_;
};

}  // namespace plydisk::torture
