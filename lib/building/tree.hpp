// A folder that is to become the root of a disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "building/kernels.hpp"

namespace plydisk {

struct Tree {
  std::filesystem::path root;
  std::uint64_t entries = 0;  // files, folders and whatever else, the root not counted
  std::uint64_t bytes = 0;    // of the files, each a whole number of blocks of 4 KiB; holes count
  // One of each, as an example: what not all file systems can keep.
  std::optional<std::filesystem::path> link, special, device, hard_link, attribute, space;
  // Of another user than the one who runs this.
  bool has_other_owners = false;
};

// Throws Error: ENOTDIR; EACCES for what can't be read; EBUSY if something is mounted in it, which
// is no part of it: /proc, for one.
Tree examine_tree(const std::filesystem::path& root);

// In the tree's /boot, the newest first. Paths as the system of the tree has them.
std::vector<Kernel> find_kernels(const std::filesystem::path& root);

// What a disk made of the tree must be called, for the tree's own files name it so.
struct RootNames {
  std::string file_system_uuid, partition_uuid;  // empty: it does not matter
  bool has_fstab_entry = false;                  // for the root
  std::string fstab;                             // the text; empty if there is none
};
RootNames root_names(const std::filesystem::path& root);

}  // namespace plydisk
