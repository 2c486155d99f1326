// The files of a disk's partitions, without mounting them, and what has become of them between two
// disks. ext2, ext3 and ext4. All functions throw Error. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "filesystem/ext_io.hpp"

namespace plydisk {

enum class FileType { file, folder, link, character_device, block_device, pipe, socket };

struct FileEntry {
  std::string path;  // from the root of its file system, with a "/" before; in any encoding
  FileType type = FileType::file;
  unsigned mode = 0;  // permissions, and the set-id and sticky bits
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t size = 0;                   // bytes
  std::int64_t mtime_ns = 0, ctime_ns = 0;  // since 1970; whole seconds where inodes are small
  std::string target;                       // of a symbolic link
  std::uint32_t device = 0;                 // of a device, as the inode has it
  std::uint32_t inode = 0;

  bool operator==(const FileEntry&) const = default;
};

// All names but the root's, in no order that means something.
std::vector<FileEntry> list_files(const ExtFileSystem& file_system);

struct DiskReader {
  std::uint64_t size = 0;  // bytes
  // Reads exactly `length` bytes at `offset`; throws Error.
  ExtFileSystem::Read read;
};

enum class FileChangeKind { added, removed, changed };
struct FileChange {
  unsigned partition = 0;  // its number; 0: the disk, which has no partitions
  FileChangeKind kind = FileChangeKind::changed;
  FileEntry entry;  // as it is after it; as it was, if it was removed
};

// A partition, and a sentence without a subject: such as "is of the type ntfs, whose files can't be
// listed".
struct PartitionRemark {
  unsigned partition = 0;
  std::string sentence;
};

struct FileComparison {
  std::vector<FileChange> changes;  // by partition and path
  // In which something has changed, and whose files are not in `changes`.
  std::vector<PartitionRemark> unread;
  // Whose files may not be all that is to be said of them: not unmounted, for one.
  std::vector<PartitionRemark> doubts;
};

// `is_changed(offset, length)`: whether any byte of that range may differ between the disks. What
// is in no changed range is not read, if that can be helped.
//
// A file is changed if its data, owner, mode, size, times or target are. A folder is, if its owner
// or mode are: that its names are others is told by themselves. Partitions are the same if they
// begin at the same byte.
FileComparison compare_files(
    const DiskReader& before, const DiskReader& after,
    const std::function<bool(std::uint64_t offset, std::uint64_t length)>& is_changed);

}  // namespace plydisk
