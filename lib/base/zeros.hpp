// Whether memory is all zeros.
#pragma once

#include <cstddef>
#include <cstring>

namespace plydisk {

inline bool is_all_zeros(const std::byte* bytes, std::size_t length) {
  return length == 0 ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, length - 1) == 0);
}

}  // namespace plydisk
