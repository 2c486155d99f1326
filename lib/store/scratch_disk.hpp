// One image served without a store: all connections share a volatile overlay, which is gone when
// the server ends. The image is never written.
//
// Thread safety: disk() from any thread. Construction, stop() and destruction by one alone.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "backing/nbd_backing.hpp"
#include "stack/disk.hpp"

namespace plydisk {

class ScratchDisk {
 public:
  // `image`: a file, a block device, or the NBD URI of one that is served. `overlay_folder`: where
  // the overlay's files go, in a folder of their own that the first write makes; empty: $TMPDIR, or
  // else /var/tmp. Throws Error.
  ScratchDisk(const std::string& image, const std::string& overlay_folder, const NbdOptions& nbd);
  ~ScratchDisk();
  ScratchDisk(const ScratchDisk&) = delete;
  ScratchDisk& operator=(const ScratchDisk&) = delete;

  Disk& disk() noexcept { return *disk_; }
  // Ends all service and removes the overlay.
  void stop();

 private:
  void begin();

  std::filesystem::path overlay_folder_, folder_;
  std::shared_ptr<Backing> backing_;
  std::unique_ptr<Disk> disk_;
};

}  // namespace plydisk
