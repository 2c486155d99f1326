// A folder for the user alone, which goes with all that is in it.
#pragma once

#include <filesystem>

namespace plydisk {

class TemporaryFolder {
 public:
  // In $TMPDIR or /tmp; in the latter if the former is too long for the path of a socket.
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace plydisk
