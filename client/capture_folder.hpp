// The folder in which a disk is made that is to be an image of the store: STORE/captures/NAME.
#pragma once

#include <filesystem>

#include "base/file.hpp"
#include "command.hpp"

namespace plydisk {

// Made if need be, and kept by one process at a time. Thread safety: one thread.
class CaptureFolder {
 public:
  // Throws Error(EBUSY) if another process has it.
  explicit CaptureFolder(std::filesystem::path path);
  const std::filesystem::path& path() const noexcept { return path_; }
  // With all that is in it.
  void remove() const;

 private:
  std::filesystem::path path_;
  UniqueFd lock_;
};

// Where the disk of a new image is made. `params`: what image.adopt will be given; what is wrong
// with that is said now, and not when the disk is there. Throws Error: EINVAL, and EEXIST if there
// is such an image.
std::filesystem::path image_folder(const Command& command, const nlohmann::json& params);

}  // namespace plydisk
