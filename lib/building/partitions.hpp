// The partition table of a disk that is built. Offsets and lengths are bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace plydisk {

struct DiskRange {
  std::uint64_t offset = 0, length = 0;
};

struct Layout {
  std::uint64_t size = 0;                   // of the disk
  std::optional<DiskRange> bios_boot, esp;  // for the boot loader, if there is one
  DiskRange root;
  std::string root_uuid;  // of the partition
};

// How large a disk must be that has a root partition of this length.
std::uint64_t disk_size_for(std::uint64_t root_length, bool bootable);
// All that `size` has is the root partition's, but for what the others need. Throws Error(EINVAL)
// if nothing is left for it.
Layout lay_out(std::uint64_t size, bool bootable, const std::string& root_uuid);
// Writes it as a GPT into a file of the layout's size. Throws Error.
void write_partition_table(const Layout& layout, const std::filesystem::path& disk);

}  // namespace plydisk
