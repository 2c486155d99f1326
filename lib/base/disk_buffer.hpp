// Memory for a part of a disk that can be read and written past the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace plydisk {

// What O_DIRECT wants of offsets, lengths and memory; more than most devices do.
inline constexpr std::size_t direct_alignment = 4096;  // bytes

class DiskBuffer {
 public:
  DiskBuffer() = default;
  // For up to `size` bytes, from any offset of a disk.
  explicit DiskBuffer(std::size_t size)
      : memory_(static_cast<std::byte*>(::operator new(size + direct_alignment, alignment))) {}

  // Where the bytes from this offset of the disk on belong: as well aligned as the offset.
  std::byte* at(std::uint64_t offset) const { return memory_.get() + offset % direct_alignment; }
  explicit operator bool() const noexcept { return static_cast<bool>(memory_); }

 private:
  static constexpr std::align_val_t alignment{direct_alignment};
  struct Delete {
    void operator()(std::byte* memory) const { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<std::byte[], Delete> memory_;
};

}  // namespace plydisk
