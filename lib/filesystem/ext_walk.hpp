// Walks over the files of an ext2, ext3 or ext4 file system. All functions throw Error, and what
// they call throws passes through them. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "filesystem/ext_io.hpp"

namespace plydisk {

// The names in a folder, without "." and "..". `path`: its path, for a sentence about an error.
std::vector<std::pair<ext2_ino_t, std::string>> folder_names(const ExtFileSystem& file_system,
                                                             ext2_ino_t folder,
                                                             const std::string& path);

// Calls fn for each name but the root's: a file with several names comes as often. `path` begins
// with "/"; its bytes are those of the file system, in whatever encoding.
using NameFn =
    std::function<void(ext2_ino_t number, const ext2_inode_large& inode, const std::string& path)>;
void for_each_name(const ExtFileSystem& file_system, const NameFn& fn);

// Calls fn(offset, length) for the data of a file, in bytes of the file system; also for the blocks
// that list those, unless `data_only`. Not for what lies in the inode itself.
using BlocksFn = std::function<void(std::uint64_t offset, std::uint64_t length)>;
void for_each_block(const ExtFileSystem& file_system, ext2_ino_t number, bool data_only,
                    const BlocksFn& fn);

}  // namespace plydisk
