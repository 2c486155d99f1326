// A root of its own for the processes behind the disk that the system's root file system lies on.
//
// An initramfs is deleted when the system takes over, and the system's own files lie on the disk:
// what keeps the disk alive must need neither. So its programs, and all that they need, are copied
// into a file system in memory, which is moved below /run/initramfs, where systemd lets it be, and
// they run in there by chroot.
//
//   usr, lib…       the programs, from the tree that initramfs/runtime-tree has made
//   run/plydisk     the folders of attached disks; /run/plydisk of the system leads to it
//   proc, sys, dev  mounts of its own
//   shutdown        what systemd runs once it has stopped all else (shutdown.hpp)
#pragma once

#include <filesystem>

namespace plydisk {

// Makes it at `root`, an empty folder on the file system of `runtime`, which is the tree. Throws
// Error, with nothing left mounted.
void make_boot_root(const std::filesystem::path& runtime, const std::filesystem::path& root);

}  // namespace plydisk
