// Sizes as users write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace plydisk {

inline constexpr std::string_view byte_size_suffixes = "KMGT";  // 2^10, 2^20, …

// A number of bytes, or of K, M, G or T. None for all else, and for 2^64 bytes or more.
std::optional<std::uint64_t> parse_byte_size(std::string_view text);

}  // namespace plydisk
