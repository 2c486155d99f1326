#include "disk_reader.hpp"

#include <algorithm>

namespace plydisk {

namespace {

constexpr std::size_t most_at_once = 4 << 20;  // bytes, of one call

}  // namespace

DiskReader reader_of(OpenDisk& disk) {
  return {disk.size(), [&disk](void* buffer, std::size_t length, std::uint64_t offset) {
            auto* bytes = static_cast<std::byte*>(buffer);
            while (length > 0) {
              const std::size_t piece = std::min(length, most_at_once);
              disk.read(bytes, piece, offset);
              bytes += piece;
              offset += piece;
              length -= piece;
            }
          }};
}

}  // namespace plydisk
