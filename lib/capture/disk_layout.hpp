// Where the partitions of a disk are, and what is in them. By libblkid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "capture/ranges.hpp"

namespace plydisk {

struct Partition {
  unsigned number = 0;  // 0: the whole disk, which has no partition table
  Range range;          // bytes of the disk
  // As libblkid calls it: "ext4", "ntfs", "LVM2_member"; empty if it does not know, or knows two.
  std::string type;
  std::string uuid;  // of the file system; empty if it has none
};

struct DiskLayout {
  std::string table;  // "gpt", "dos", …; empty: none
  std::vector<Partition> partitions;
  // Why nothing of the disk may be left out, a sentence; empty if that is not so.
  std::string doubt;
  // SHA-256, in hexadecimal, of the first and the last blocks of the disk and of its partitions,
  // where file systems note down that they were mounted.
  std::string fingerprint;
};

// Reads exactly `length` bytes at `offset`; throws Error.
using ReadDisk = std::function<void(void* buffer, std::size_t length, std::uint64_t offset)>;

// Of a disk of `size` bytes with sectors of `sector_bytes`. Throws Error, and what `read` threw.
DiskLayout read_layout(const ReadDisk& read, std::uint64_t size, unsigned sector_bytes);

}  // namespace plydisk
