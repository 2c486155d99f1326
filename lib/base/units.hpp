// Sectors, chunks, and the sets of sectors inside one chunk.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace plydisk {

inline constexpr std::uint64_t sector_size = 512;       // bytes
inline constexpr std::uint64_t chunk_size = 64 * 1024;  // bytes
inline constexpr std::uint64_t mebibyte = 1 << 20;      // bytes
inline constexpr unsigned chunk_sectors = chunk_size / sector_size;

// How many chunks a disk of `bytes` has; the last may be partial.
constexpr std::uint64_t chunk_count(std::uint64_t bytes) {
  return bytes / chunk_size + (bytes % chunk_size != 0);
}

// A set of sectors of one chunk: sector i is bit i%64 of word i/64.
struct SectorSet {
  std::array<std::uint64_t, 2> word{0, 0};

  static constexpr SectorSet all() { return {{~0ULL, ~0ULL}}; }

  // Sectors first … first+count-1; first+count must be at most 128.
  static constexpr SectorSet range(unsigned first, unsigned count) {
    SectorSet set;
    for (unsigned w = 0; w < 2; ++w) {
      const unsigned low = w * 64;
      const unsigned from = first > low ? first - low : 0;
      const unsigned to = first + count > low ? first + count - low : 0;
      if (from >= 64 || to <= from) continue;
      const unsigned bits = (to < 64 ? to : 64) - from;
      set.word[w] = (bits == 64 ? ~0ULL : (1ULL << bits) - 1) << from;
    }
    return set;
  }

  constexpr bool empty() const { return (word[0] | word[1]) == 0; }
  constexpr bool full() const { return (word[0] & word[1]) == ~0ULL; }
  constexpr bool test(unsigned sector) const { return word[sector / 64] >> (sector % 64) & 1; }
  constexpr void set(unsigned sector) { word[sector / 64] |= 1ULL << (sector % 64); }
  constexpr unsigned count() const {
    return static_cast<unsigned>(std::popcount(word[0]) + std::popcount(word[1]));
  }
  constexpr SectorSet operator&(const SectorSet& o) const {
    return {{word[0] & o.word[0], word[1] & o.word[1]}};
  }
  constexpr SectorSet operator|(const SectorSet& o) const {
    return {{word[0] | o.word[0], word[1] | o.word[1]}};
  }
  constexpr SectorSet operator~() const { return {{~word[0], ~word[1]}}; }
  constexpr SectorSet& operator|=(const SectorSet& o) { return *this = *this | o; }
  constexpr SectorSet& operator&=(const SectorSet& o) { return *this = *this & o; }
  constexpr bool operator==(const SectorSet&) const = default;

  // First sector at or after `from` that is in the set (or not, for `next_clear`); 128 if none.
  constexpr unsigned next(unsigned from) const {
    for (unsigned w = from / 64; w < 2; ++w) {
      const std::uint64_t bits = word[w] & (w == from / 64 ? ~0ULL << (from % 64) : ~0ULL);
      if (bits != 0) return w * 64 + static_cast<unsigned>(std::countr_zero(bits));
    }
    return chunk_sectors;
  }
  constexpr unsigned next_clear(unsigned from) const { return (~*this).next(from); }

  // Calls fn(first, count) for every run of consecutive sectors in the set.
  template <typename Fn>
  constexpr void for_each_run(Fn&& fn) const {
    for (unsigned first = next(0); first < chunk_sectors;) {
      const unsigned end = next_clear(first);
      fn(first, end - first);
      if (end >= chunk_sectors) return;
      first = next(end);
    }
  }
};

}  // namespace plydisk
