// ext2, ext3 and ext4 file systems inside anything that can be read, by libext2fs.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace plydisk {

// One file system, read through a function. Thread safety: one thread.
class ExtFileSystem {
 public:
  // Reads exactly `length` bytes from byte `offset` of what holds the file system; throws Error.
  using Read = std::function<void(void* buffer, std::size_t length, std::uint64_t offset)>;

  // The file system begins at byte `begin`, and has at most `length` bytes. Throws Error: EINVAL if
  // it is none, or has features that this libext2fs does not know; EUCLEAN if it is damaged; and
  // what `read` threw.
  ExtFileSystem(Read read, std::uint64_t begin, std::uint64_t length);
  ~ExtFileSystem();
  ExtFileSystem(const ExtFileSystem&) = delete;
  ExtFileSystem& operator=(const ExtFileSystem&) = delete;

  ext2_filsys get() const noexcept { return fs_; }
  // Throws what a call of libext2fs returned, unless that is 0; `doing`: "read the block bitmap".
  void require(errcode_t result, const std::string& doing) const;

  // What the I/O manager reads through; for it alone.
  struct Medium {
    Read read;
    std::uint64_t begin, length;  // bytes
    std::string trouble;          // why the last read failed
    int trouble_code = 0;         // its errno
  };

 private:
  Medium medium_;
  ext2_filsys fs_ = nullptr;
};

}  // namespace plydisk
