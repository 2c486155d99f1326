// GRUB as the boot loader of a disk that is built, for BIOS and for UEFI. Its own installer wants
// the disk as a device, with file systems mounted; here all is written into the file.
#pragma once

#include <filesystem>
#include <string>

#include "building/file_systems.hpp"
#include "building/partitions.hpp"

namespace plydisk {

// Throws Error(ENOENT) with what is missing.
void require_grub();

struct GrubTask {
  std::filesystem::path disk;
  Layout layout;          // with partitions for the boot loader
  std::string root_uuid;  // of the root file system, as GRUB calls it
  std::string esp_uuid;   // for the EFI system partition that is made
};
// The menu: GRUB's script for these kernels, or the tree's own one. Throws Error(ENOENT) if the
// tree has neither.
std::string grub_menu(const Tree& tree, const GrubTask& task);
// Makes the EFI system partition, and writes the boot sector and what it loads.
void install_grub(const GrubTask& task, const std::string& menu);

}  // namespace plydisk
