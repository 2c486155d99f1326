// Sectors that say what they are: number, generation, filler and checksum, so that a sector read
// back can be told from a torn one, a mixed one, and one that belongs elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace plydisk::torture {

inline constexpr std::size_t pattern_size = 512;  // bytes; the unit of everything here

// Fills one sector. `generation` is never 0.
void fill_sector(std::byte* sector, std::uint64_t number, std::uint64_t generation);
// A 64-bit hash of one sector's content; that of zeros is 0.
std::uint64_t hash_sector(const std::byte* sector);

struct SectorIdentity {
  bool zeros = false;
  bool whole = false;  // as fill_sector() made it
  std::uint64_t number = 0, generation = 0;
};
SectorIdentity identify_sector(const std::byte* sector);
// "zeros", "sector 7, generation 12", or what can be said of anything else.
std::string describe_sector(const std::byte* sector);

}  // namespace plydisk::torture
