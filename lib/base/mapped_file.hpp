// Reads of a file that copy out of a shared mapping where its pages are in memory, and use pread
// where they are not; and, in a file system in memory, writes that copy into it.
//
// Copying from a mapping spares a system call for each piece, which is what makes a disk that is
// fragmented over many layers as fast as a plain file. But a mapped page that is not in memory is
// read alone, without the readahead that pread gives, so each file has a mood. *Warm*: reads copy
// from the mapping, until one waits for the disk. *Cold*: reads use pread, until a number of them
// in a row did not wait. The number grows each time that a warm spell proves short, since a
// sequential read of a cold file finds its data in memory only because pread reads ahead.
//
// A mapped page that cannot be read (I/O error, file truncated by somebody) raises SIGBUS. A guard
// turns that into a pread, which reports the error properly.
//
// Thread safety: read() may be called from any thread. The mapping is as large as the file was at
// construction; if it cannot be made, all reads use pread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/file.hpp"

namespace plydisk {

class MappedFile {
 public:
  // `length`: how many bytes of the file are mapped, from its beginning. `for_writing`: for
  // write(), too, if the file is in memory anyway.
  MappedFile(File file, std::uint64_t length, bool for_writing = false);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const File& file() const noexcept { return file_; }
  // Reads exactly `length` bytes at byte `offset`. Throws Error(EIO).
  void read(void* buffer, std::size_t length, std::uint64_t offset) const;
  // Whether write() can spare the system call.
  bool is_mapped_for_writing() const noexcept { return for_writing_; }
  // Writes over what the file has already: a hole might find no room. Throws Error.
  void write(const void* buffer, std::size_t length, std::uint64_t offset);
  // Whether reads have been waiting for the disk lately.
  bool is_cold() const noexcept { return cold_reads_.load(std::memory_order_relaxed) > 0; }
  // Has the processor look up the page, for a read that comes soon: a free instruction instead of a
  // wait, where pages lie far apart.
  void touch(std::uint64_t offset) const noexcept {
    if (offset < length_) __builtin_prefetch(base_ + offset);
  }
  // Asks the kernel to read the range ahead.
  void prefetch(std::uint64_t offset, std::uint64_t length) const;

 private:
  bool read_mapped(void* buffer, std::size_t length, std::uint64_t offset) const;
  void turn_cold() const;

  File file_;
  std::byte* base_ = nullptr;
  std::uint64_t length_ = 0;
  bool for_writing_ = false;
  // Reads still to be done by pread before the mapping is tried (again); 0: warm. The three are
  // hints: a lost update costs some microseconds.
  mutable std::atomic<int> cold_reads_;
  mutable std::atomic<int> cold_spell_;
  mutable std::atomic<std::uint64_t> warm_since_ns_{0};
};

// Copies `length` bytes from or to mapped memory; false if a page could not be had.
bool guarded_copy(void* to, const void* from, std::size_t length) noexcept;

}  // namespace plydisk
