#include "base/byte_size.hpp"

#include <charconv>
#include <system_error>

namespace plydisk {

std::optional<std::uint64_t> parse_byte_size(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty())
    if (const auto at = byte_size_suffixes.find(text.back()); at != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(at) + 1);
      text.remove_suffix(1);
    }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > UINT64_MAX >> shift)
    return std::nullopt;
  return value << shift;
}

}  // namespace plydisk
