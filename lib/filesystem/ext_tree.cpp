#include "filesystem/ext_tree.hpp"

#include <memory>

#include "base/error.hpp"
#include "filesystem/ext_walk.hpp"

namespace plydisk {

namespace {

struct FileCloser {
  void operator()(ext2_file_t file) const noexcept { ::ext2fs_file_close(file); }
};
using OpenFile = std::unique_ptr<ext2_file, FileCloser>;

constexpr unsigned part_bytes = 1 << 20;

}  // namespace

ext2_ino_t ExtTree::find(const std::string& path) const {
  ext2_ino_t inode = 0;
  return ::ext2fs_namei_follow(file_system_.get(), EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(),
                               &inode) == 0
             ? inode
             : 0;
}

std::string ExtTree::read(const std::string& path, unsigned most) const {
  ext2_file_t opened = nullptr;
  const ext2_ino_t inode = find(path);
  if (inode == 0 || ::ext2fs_file_open(file_system_.get(), inode, 0, &opened) != 0) return {};
  const OpenFile file(opened);
  std::string text(most, '\0');
  unsigned got = 0;
  if (::ext2fs_file_read(file.get(), text.data(), most, &got) != 0) got = 0;
  text.resize(got);
  return text;
}

std::vector<std::string> ExtTree::names(const std::string& folder) const {
  const ext2_ino_t inode = find(folder);
  if (inode == 0 || ::ext2fs_check_directory(file_system_.get(), inode) != 0) return {};
  std::vector<std::string> names;
  for (auto& [number, name] : folder_names(file_system_, inode, folder))
    names.push_back(std::move(name));
  return names;
}

std::optional<ExtTree::RegularFile> ExtTree::regular_file(const std::string& path) const {
  const ext2_ino_t number = find(path);
  ext2_inode inode{};
  if (number == 0 || ::ext2fs_read_inode(file_system_.get(), number, &inode) != 0 ||
      !LINUX_S_ISREG(inode.i_mode) || EXT2_I_SIZE(&inode) == 0)
    return std::nullopt;
  const std::uint64_t size = EXT2_I_SIZE(&inode);
  std::string state;
  for (const std::uint64_t value : {std::uint64_t{number}, size, std::uint64_t{inode.i_generation},
                                    std::uint64_t{inode.i_mtime}, std::uint64_t{inode.i_ctime}})
    state += (state.empty() ? "" : ".") + std::to_string(value);
  return RegularFile{number, size, state};
}

void ExtTree::for_each_part(
    const RegularFile& file,
    const std::function<void(const void* data, std::size_t length)>& fn) const {
  ext2_file_t opened = nullptr;
  file_system_.require(::ext2fs_file_open(file_system_.get(), file.inode, 0, &opened),
                       "open a file");
  const OpenFile open(opened);
  std::vector<char> part(part_bytes);
  for (std::uint64_t left = file.size; left > 0;) {
    unsigned got = 0;
    file_system_.require(::ext2fs_file_read(open.get(), part.data(), part_bytes, &got),
                         "read a file");
    if (got == 0 || got > left) throw Error(EUCLEAN, "a file is not as long as its inode says");
    fn(part.data(), got);
    left -= got;
  }
}

}  // namespace plydisk
