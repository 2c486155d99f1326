#include "capture/ext_map.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "filesystem/ext_walk.hpp"

namespace plydisk {

std::string ext_trouble(const ExtFileSystem& file_system) {
  ext2_super_block& super = *file_system.get()->super;
  if (ext2fs_has_feature_journal_needs_recovery(&super)) return "has a journal to be replayed";
  if ((super.s_state & EXT2_ERROR_FS) != 0) return "has errors";
  if ((super.s_state & EXT2_VALID_FS) == 0) return "was not unmounted";
  return {};
}

Ranges ext_free(const ExtFileSystem& file_system, std::uint64_t begin) {
  ext2_filsys const fs = file_system.get();
  file_system.require(::ext2fs_read_block_bitmap(fs), "read the block bitmap");
  Ranges free;
  const blk64_t last = ::ext2fs_blocks_count(fs->super) - 1;
  for (blk64_t at = fs->super->s_first_data_block; at <= last;) {
    blk64_t first = 0, next = 0;
    const errcode_t found = ::ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, last, &first);
    if (found == ENOENT) break;
    file_system.require(found, "search the block bitmap");
    const errcode_t ends = ::ext2fs_find_first_set_block_bitmap2(fs->block_map, first, last, &next);
    if (ends == ENOENT) next = last + 1;
    if (ends != ENOENT) file_system.require(ends, "search the block bitmap");
    free.add({begin + first * fs->blocksize, begin + next * fs->blocksize});
    at = next;
  }
  return free;
}

namespace {

// How many names of each regular file match one of the patterns.
std::map<ext2_ino_t, unsigned> matching_names(const ExtFileSystem& file_system,
                                              const std::vector<std::string>& patterns) {
  std::map<ext2_ino_t, unsigned> matches;
  for_each_name(file_system,
                [&](ext2_ino_t number, const ext2_inode_large& inode, const std::string& path) {
                  if (!LINUX_S_ISREG(inode.i_mode)) return;
                  const std::string name = path.substr(path.rfind('/') + 1);
                  if (std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) {
                        const bool is_path = pattern.find('/') != pattern.npos;
                        return ::fnmatch(pattern.c_str(), (is_path ? path : name).c_str(), 0) == 0;
                      }))
                    ++matches[number];
                });
  return matches;
}

}  // namespace

ExtExcluded ext_excluded(const ExtFileSystem& file_system, std::uint64_t begin,
                         const std::vector<std::string>& patterns) {
  ext2_filsys const fs = file_system.get();
  if (ext2fs_has_feature_shared_blocks(fs->super))
    throw Error(EOPNOTSUPP,
                "--exclude does not work on an ext4 file system whose files share blocks: leave it "
                "out");
  ExtExcluded excluded;
  for (const auto& [number, names] : matching_names(file_system, patterns)) {
    ext2_inode inode{};
    file_system.require(::ext2fs_read_inode(fs, number, &inode), "read an inode");
    if (inode.i_links_count != names || ::ext2fs_inode_has_valid_blocks2(fs, &inode) == 0) continue;
    for_each_block(file_system, number, /*data_only=*/true,
                   [&](std::uint64_t offset, std::uint64_t length) {
                     excluded.data.add({begin + offset, begin + offset + length});
                   });
    ++excluded.files;
  }
  return excluded;
}

}  // namespace plydisk
