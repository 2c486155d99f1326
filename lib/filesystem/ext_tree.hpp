// Files of an ext2, ext3 or ext4 file system by their paths, from its root; symbolic links are
// followed inside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "filesystem/ext_io.hpp"

namespace plydisk {

// Thread safety: as the file system.
class ExtTree {
 public:
  explicit ExtTree(const ExtFileSystem& file_system) : file_system_(file_system) {}

  bool has(const std::string& path) const { return find(path) != 0; }
  // The first bytes of a file, at most `most`; empty if there is no such file.
  std::string read(const std::string& path, unsigned most) const;
  // The names in a folder; none if there is no such folder. Throws Error if it is damaged.
  std::vector<std::string> names(const std::string& folder) const;

  // A regular file with something in it.
  struct RegularFile {
    ext2_ino_t inode = 0;
    std::uint64_t size = 0;  // bytes
    // Another text after each change of the file, as far as its inode tells.
    std::string state;
  };
  std::optional<RegularFile> regular_file(const std::string& path) const;
  // Calls fn with each part of it. Throws Error, and what fn throws.
  void for_each_part(const RegularFile& file,
                     const std::function<void(const void* data, std::size_t length)>& fn) const;

 private:
  ext2_ino_t find(const std::string& path) const;

  const ExtFileSystem& file_system_;
};

}  // namespace plydisk
