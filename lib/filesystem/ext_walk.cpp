#include "filesystem/ext_walk.hpp"

#include <exception>
#include <set>

namespace plydisk {

namespace {

struct Folder {
  ext2_ino_t number;
  std::string path;  // "" for the root
};

// The names in a folder. libext2fs calls back with one pointer, through which no exception passes.
struct Listing {
  std::vector<std::pair<ext2_ino_t, std::string>> names;
  std::exception_ptr failure;

  static int add(ext2_ino_t, int entry, ext2_dir_entry* dirent, int, int, char*, void* listing) {
    auto& self = *static_cast<Listing*>(listing);
    if (entry != DIRENT_OTHER_FILE) return 0;
    try {
      self.names.emplace_back(
          dirent->inode,
          std::string(dirent->name, static_cast<std::size_t>(::ext2fs_dirent_name_len(dirent))));
      return 0;
    } catch (...) {
      self.failure = std::current_exception();
      return DIRENT_ABORT;
    }
  }
};

struct BlockVisit {
  const BlocksFn& fn;
  std::exception_ptr failure;

  static int visit(ext2_filsys fs, blk64_t* block, e2_blkcnt_t, blk64_t, int, void* data) {
    auto& self = *static_cast<BlockVisit*>(data);
    try {
      self.fn(*block * fs->blocksize, fs->blocksize);
      return 0;
    } catch (...) {
      self.failure = std::current_exception();
      return BLOCK_ABORT;
    }
  }
};

}  // namespace

std::vector<std::pair<ext2_ino_t, std::string>> folder_names(const ExtFileSystem& file_system,
                                                             ext2_ino_t folder,
                                                             const std::string& path) {
  Listing listing;
  const errcode_t result =
      ::ext2fs_dir_iterate2(file_system.get(), folder, 0, nullptr, &Listing::add, &listing);
  if (listing.failure) std::rethrow_exception(listing.failure);
  file_system.require(result, "list the folder " + path + "/");
  return std::move(listing.names);
}

void for_each_name(const ExtFileSystem& file_system, const NameFn& fn) {
  ext2_filsys const fs = file_system.get();
  std::vector<Folder> folders{{EXT2_ROOT_INO, ""}};
  // A damaged file system may lead back to a folder.
  std::set<ext2_ino_t> seen{EXT2_ROOT_INO};
  while (!folders.empty()) {
    const Folder folder = std::move(folders.back());
    folders.pop_back();
    for (const auto& [number, name] : folder_names(file_system, folder.number, folder.path)) {
      ext2_inode_large inode{};
      file_system.require(
          ::ext2fs_read_inode_full(fs, number, reinterpret_cast<ext2_inode*>(&inode), sizeof inode),
          "read an inode");
      const std::string path = folder.path + "/" + name;
      fn(number, inode, path);
      if (LINUX_S_ISDIR(inode.i_mode) && seen.insert(number).second)
        folders.push_back({number, path});
    }
  }
}

void for_each_block(const ExtFileSystem& file_system, ext2_ino_t number, bool data_only,
                    const BlocksFn& fn) {
  ext2_filsys const fs = file_system.get();
  ext2_inode inode{};
  file_system.require(::ext2fs_read_inode(fs, number, &inode), "read an inode");
  if (::ext2fs_inode_has_valid_blocks2(fs, &inode) == 0) return;
  BlockVisit visit{fn, nullptr};
  const int flags = BLOCK_FLAG_READ_ONLY | (data_only ? BLOCK_FLAG_DATA_ONLY : 0);
  const errcode_t result =
      ::ext2fs_block_iterate3(fs, number, flags, nullptr, &BlockVisit::visit, &visit);
  if (visit.failure) std::rethrow_exception(visit.failure);
  file_system.require(result, "read the block list of a file");
}

}  // namespace plydisk
