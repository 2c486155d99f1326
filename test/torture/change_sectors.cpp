#include "change_sectors.hpp"

#include <algorithm>
#include <cstring>

#include "sector_pattern.hpp"

namespace plydisk::torture {

void change_sectors(Disk& disk, std::vector<std::byte>& content, std::mt19937_64& random,
                    std::uint64_t most, std::uint64_t generation) {
  const std::uint64_t sectors = disk.size() / pattern_size;
  const std::uint64_t first = random() % sectors;
  const std::uint64_t count = 1 + random() % std::min(sectors - first, most);
  std::byte* const data = &content[first * pattern_size];
  if (random() % 4 == 0) {
    std::memset(data, 0, count * pattern_size);
    disk.zero(first * pattern_size, count * pattern_size, true, false);
  } else {
    for (std::uint64_t at = 0; at < count; ++at)
      fill_sector(data + at * pattern_size, first + at, generation);
    disk.write(data, count * pattern_size, first * pattern_size, false);
  }
}

}  // namespace plydisk::torture
