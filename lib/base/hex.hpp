// Bytes as hexadecimal digits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

inline std::string to_hex(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned byte : bytes)
    for (const unsigned nibble : {byte >> 4U, byte & 15U}) text += "0123456789abcdef"[nibble];
  return text;
}

// None if that is not what it is.
inline std::optional<std::vector<std::uint8_t>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<std::uint8_t> bytes(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto nibble = std::string_view("0123456789abcdef").find(text[i]);
    if (nibble == std::string_view::npos) return std::nullopt;
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] << 4U | nibble);
  }
  return bytes;
}

}  // namespace plydisk
