#include "filesystem/files.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "capture/disk_layout.hpp"
#include "capture/ext_map.hpp"
#include "filesystem/ext_walk.hpp"

namespace plydisk {

namespace {

FileType type_of_mode(unsigned mode) {
  switch (mode & LINUX_S_IFMT) {
    case LINUX_S_IFDIR:
      return FileType::folder;
    case LINUX_S_IFLNK:
      return FileType::link;
    case LINUX_S_IFCHR:
      return FileType::character_device;
    case LINUX_S_IFBLK:
      return FileType::block_device;
    case LINUX_S_IFIFO:
      return FileType::pipe;
    case LINUX_S_IFSOCK:
      return FileType::socket;
    default:
      return FileType::file;
  }
}

// Seconds, with two more bits of them and the nanoseconds in a word that large inodes have; the
// format is in the kernel's documentation of ext4.
std::int64_t nanoseconds(std::uint32_t seconds, std::uint32_t extra) {
  constexpr std::int64_t second = 1'000'000'000;
  const auto epoch = static_cast<std::int64_t>(extra & 3U) << 32U;
  return (static_cast<std::int32_t>(seconds) + epoch) * second +
         static_cast<std::int64_t>(extra >> 2U);
}

std::string link_target(const ExtFileSystem& file_system, ext2_ino_t number,
                        const ext2_inode_large& inode) {
  ext2_filsys const fs = file_system.get();
  auto plain = reinterpret_cast<const ext2_inode&>(inode);
  const std::uint64_t length = EXT2_I_SIZE(&plain);
  constexpr std::uint64_t longest_target = 4096;
  if (length > longest_target) throw Error(EUCLEAN, "a symbolic link is too long");
  if (::ext2fs_is_fast_symlink(&plain) != 0)
    return {reinterpret_cast<const char*>(plain.i_block),
            static_cast<std::size_t>(std::min<std::uint64_t>(length, sizeof plain.i_block))};
  ext2_file_t file = nullptr;
  file_system.require(::ext2fs_file_open2(fs, number, &plain, 0, &file), "read a symbolic link");
  std::string target(length, '\0');
  unsigned got = 0;
  const errcode_t result =
      ::ext2fs_file_read(file, target.data(), static_cast<unsigned>(length), &got);
  ::ext2fs_file_close(file);
  file_system.require(result, "read a symbolic link");
  target.resize(got);
  return target;
}

FileEntry entry_of(const ExtFileSystem& file_system, ext2_ino_t number,
                   const ext2_inode_large& inode, const std::string& path) {
  FileEntry entry;
  entry.path = path;
  entry.type = type_of_mode(inode.i_mode);
  entry.mode = inode.i_mode & 07777U;
  entry.uid = inode_uid(inode);
  entry.gid = inode_gid(inode);
  entry.size = EXT2_I_SIZE(&inode);
  const bool has_extra = EXT2_INODE_SIZE(file_system.get()->super) > EXT2_GOOD_OLD_INODE_SIZE;
  entry.mtime_ns = nanoseconds(inode.i_mtime, has_extra ? inode.i_mtime_extra : 0);
  entry.ctime_ns = nanoseconds(inode.i_ctime, has_extra ? inode.i_ctime_extra : 0);
  entry.inode = number;
  if (entry.type == FileType::link) entry.target = link_target(file_system, number, inode);
  if (entry.type == FileType::character_device || entry.type == FileType::block_device)
    entry.device = inode.i_block[0] != 0 ? inode.i_block[0] : inode.i_block[1];
  return entry;
}

bool is_ext(const std::string& type) {
  static constexpr std::array types{"ext2", "ext3", "ext4", "ext4dev"};
  return std::ranges::find(types, type) != types.end();
}

// One partition of both disks.
struct Pair {
  std::optional<Partition> before, after;
};

class FilesOfDisks {
 public:
  FilesOfDisks(const DiskReader& before, const DiskReader& after,
               const std::function<bool(std::uint64_t, std::uint64_t)>& is_changed)
      : before_(before), after_(after), is_changed_(is_changed) {}

  FileComparison compare() {
    std::map<std::uint64_t, Pair> pairs;
    for (const Partition& it : partitions(before_)) pairs[it.range.begin].before = it;
    for (const Partition& it : partitions(after_)) pairs[it.range.begin].after = it;
    for (const auto& [begin, pair] : pairs) compare_pair(pair);
    return std::move(result_);
  }

 private:
  using Entries = std::map<std::string, FileEntry>;

  static std::vector<Partition> partitions(const DiskReader& disk) {
    constexpr unsigned sector = 512;
    return read_layout(disk.read, disk.size, sector).partitions;
  }

  void compare_pair(const Pair& pair) {
    const Partition& present = pair.after ? *pair.after : *pair.before;
    const bool is_same_place = pair.before && pair.after && pair.before->range == pair.after->range;
    if (is_same_place && !is_changed_(present.range.begin, present.range.length())) return;
    try {
      std::optional<ExtFileSystem> was, is;
      if (pair.before) open(before_, *pair.before, was);
      if (pair.after) open(after_, *pair.after, is);
      if (pair.before.has_value() != was.has_value() || pair.after.has_value() != is.has_value())
        return;
      const Entries old = was ? entries(*was) : Entries();
      std::vector<FileChange> changes;
      const Entries now = is ? entries(*is) : Entries();
      for (const auto& [path, entry] : now) {
        const auto found = old.find(path);
        if (found == old.end())
          changes.push_back({present.number, FileChangeKind::added, entry});
        else if (differs(found->second, entry, *is, present.range.begin))
          changes.push_back({present.number, FileChangeKind::changed, entry});
      }
      for (const auto& [path, entry] : old)
        if (!now.contains(path))
          changes.push_back({present.number, FileChangeKind::removed, entry});
      std::ranges::stable_sort(changes, {}, [](const FileChange& it) { return it.entry.path; });
      result_.changes.insert(result_.changes.end(), changes.begin(), changes.end());
    } catch (const Error& error) {
      // What is wrong with the disk itself is wrong with all of it.
      if (error.code() != EUCLEAN && error.code() != EINVAL) throw;
      result_.unread.push_back({present.number, std::string("can't be read: ") + error.what()});
    }
  }

  // Leaves `opened` empty if it is no such file system, and says so.
  void open(const DiskReader& disk, const Partition& partition,
            std::optional<ExtFileSystem>& opened) {
    const auto remark = [&](std::vector<PartitionRemark>& list, const std::string& sentence) {
      const auto is_there = [&](const PartitionRemark& it) {
        return it.partition == partition.number && it.sentence == sentence;
      };
      if (std::ranges::none_of(list, is_there)) list.push_back({partition.number, sentence});
    };
    if (!is_ext(partition.type))
      return remark(result_.unread, partition.type.empty() ? "has no known file system"
                                                           : "is of the type " + partition.type +
                                                                 ", whose files can't be listed");
    opened.emplace(disk.read, partition.range.begin,
                   std::min(partition.range.length(), disk.size - partition.range.begin));
    if (const std::string trouble = ext_trouble(*opened); !trouble.empty())
      remark(result_.doubts, trouble);
  }

  static Entries entries(const ExtFileSystem& file_system) {
    Entries entries;
    for (FileEntry& entry : list_files(file_system)) {
      std::string path = entry.path;
      entries.emplace(std::move(path), std::move(entry));
    }
    return entries;
  }

  bool differs(const FileEntry& was, const FileEntry& is, const ExtFileSystem& file_system,
               std::uint64_t begin) {
    if (was.type != is.type || was.mode != is.mode || was.uid != is.uid || was.gid != is.gid)
      return true;
    if (is.type == FileType::folder) return false;
    // Where the same file lies is nobody's matter, and two file systems never agree on it.
    FileEntry moved = was;
    moved.inode = is.inode;
    if (moved != is) return true;
    if (is.type != FileType::file) return false;
    return has_changed_blocks(is.inode, file_system, begin);
  }

  // Once for all names of a file.
  bool has_changed_blocks(std::uint32_t inode, const ExtFileSystem& file_system,
                          std::uint64_t begin) {
    bool found = false;
    for_each_block(file_system, inode, /*data_only=*/true,
                   [&](std::uint64_t offset, std::uint64_t length) {
                     found = found || is_changed_(begin + offset, length);
                   });
    return found;
  }

  const DiskReader& before_;
  const DiskReader& after_;
  const std::function<bool(std::uint64_t, std::uint64_t)>& is_changed_;
  FileComparison result_;
};

}  // namespace

std::vector<FileEntry> list_files(const ExtFileSystem& file_system) {
  std::vector<FileEntry> files;
  for_each_name(file_system,
                [&](ext2_ino_t number, const ext2_inode_large& inode, const std::string& path) {
                  files.push_back(entry_of(file_system, number, inode, path));
                });
  return files;
}

FileComparison compare_files(
    const DiskReader& before, const DiskReader& after,
    const std::function<bool(std::uint64_t offset, std::uint64_t length)>& is_changed) {
  return FilesOfDisks(before, after, is_changed).compare();
}

}  // namespace plydisk
