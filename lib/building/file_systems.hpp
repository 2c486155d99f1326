// File systems made of folders, in a part of a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "building/partitions.hpp"
#include "building/tree.hpp"

namespace plydisk {

struct FileSystemTask {
  std::string kind;  // ext4, xfs, btrfs or vfat
  std::string uuid;
  std::filesystem::path disk;
  DiskRange place;
};

// Throws Error: EINVAL for a kind that there is not, ENOENT if its programs are missing.
void require_file_system(const std::string& kind);
// Throws Error(ENOTSUP) if the tree has what the kind can't keep, with an example of it.
void require_fits(const std::string& kind, const Tree& tree);
// Bytes that a file system of this kind needs for the tree, and as much as lets a system live on
// it.
std::uint64_t length_with_room(const std::string& kind, const Tree& tree);
// Bytes that it needs at the least.
std::uint64_t least_length(const std::string& kind, const Tree& tree);
// Makes it with all of the tree; `fstab`: what /etc/fstab is in it; empty: as in the tree.
void make_file_system(const FileSystemTask& task, const Tree& tree, const std::string& fstab);
// Makes a FAT with these files: pairs of a file and its path, such as EFI/BOOT/BOOTX64.EFI.
void make_boot_file_system(const FileSystemTask& task,
                           const std::vector<std::pair<std::filesystem::path, std::string>>& files);

}  // namespace plydisk
