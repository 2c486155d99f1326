// In an initramfs: the disc (boot/disc.hpp) that the machine has in one of its drives. It lies
// below the root that this runs in, runtime-tree's, and so outlives the initramfs.
//
//   /medium     the disc
//   /packed     what is packed in it, by a loop device
#pragma once

#include <filesystem>
#include <string>

namespace plydisk {

struct MountedDisc {
  std::string label;
  std::filesystem::path medium;  // the device: /dev/sr0
  std::filesystem::path disk;    // the file to attach
};

// Finds the disc with this label, or the only one that there is if that is empty, and mounts it.
// Throws Error, with nothing left mounted: EUCLEAN if the disc is damaged, so that waiting is in
// vain; others if it is not there, which may change. Each says what to do.
MountedDisc mount_disc(const std::string& label);
// Reads all of it, and tells standard output how far it is. Throws Error(EUCLEAN) if it is damaged.
void check_disc(const MountedDisc& disc);
// Whatever of it is mounted below `root`. False if it is still in use.
bool unmount_disc(const std::filesystem::path& root) noexcept;

}  // namespace plydisk
