// A disk made of a folder: partition table, root file system and, if wanted, a boot loader.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plydisk {

struct TreeDiskOptions {
  std::filesystem::path tree;
  std::string file_system = "ext4";
  std::optional<std::uint64_t> size;  // of the disk, bytes; none: as the tree needs, with room
  bool bootable = false;
};

// Thread safety: one thread.
class TreeDisk {
 public:
  // Throws Error for what can be known before: a program, a kernel or room that is missing, what
  // the file system can't keep, what can't be read.
  explicit TreeDisk(TreeDiskOptions options);
  ~TreeDisk();
  TreeDisk(const TreeDisk&) = delete;
  TreeDisk& operator=(const TreeDisk&) = delete;

  // Sentences that its user should read.
  std::vector<std::string> remarks() const;
  // Into an empty file. Throws Error. Nothing is synced.
  void build(const std::filesystem::path& disk) const;

 private:
  struct Plan;
  const std::unique_ptr<Plan> plan_;
};

}  // namespace plydisk
