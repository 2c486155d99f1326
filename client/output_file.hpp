// A file that is there once it is complete, and not before: it is written under another name beside
// its own, synced, and then takes its place. What a killed process has left goes when a file of
// that name is written next.
#pragma once

#include <filesystem>

#include "base/file.hpp"

namespace plydisk {

// Thread safety: one thread.
class OutputFile {
 public:
  // Throws Error: EEXIST if there is such a file and `replaces` is false; EINVAL if something else
  // has that name.
  OutputFile(const std::filesystem::path& path, bool replaces);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // To be written; another program may make it anew, under the same path.
  const std::filesystem::path& unfinished() const noexcept { return unfinished_; }
  // Throws Error(EEXIST) if a file has come to be there meanwhile that is not to be replaced.
  void finish();

 private:
  std::filesystem::path path_, unfinished_;
  File file_;  // locked, so that others can see that somebody is at work on it
  const bool replaces_;
};

}  // namespace plydisk
