#include "sector_pattern.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace plydisk::torture {

namespace {

constexpr std::uint64_t magic = 0x746f727475726531ULL;
constexpr std::size_t words = pattern_size / sizeof(std::uint64_t);
using Words = std::array<std::uint64_t, words>;

// magic, number, generation, filler, hash of all before.
Words make(std::uint64_t number, std::uint64_t generation) {
  Words word{magic, number, generation};
  std::uint64_t state = number * 0x9e3779b97f4a7c15ULL ^ generation * 0xbf58476d1ce4e5b9ULL;
  for (std::size_t i = 3; i < words; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    word[i] = state ^ state >> 29;
  }
  word.back() = state;
  return word;
}

Words load(const std::byte* sector) {
  Words word;
  std::memcpy(word.data(), sector, pattern_size);
  return word;
}

}  // namespace

void fill_sector(std::byte* sector, std::uint64_t number, std::uint64_t generation) {
  const Words word = make(number, generation);
  std::memcpy(sector, word.data(), pattern_size);
}

std::uint64_t hash_sector(const std::byte* sector) {
  const Words word = load(sector);
  if (std::ranges::all_of(word, [](std::uint64_t value) { return value == 0; })) return 0;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const std::uint64_t value : word) {
    hash = (hash ^ value) * 0x9fb21c651e98df25ULL;
    hash ^= hash >> 32;
  }
  return hash == 0 ? 1 : hash;
}

SectorIdentity identify_sector(const std::byte* sector) {
  const Words word = load(sector);
  SectorIdentity identity;
  identity.zeros = std::ranges::all_of(word, [](std::uint64_t value) { return value == 0; });
  identity.number = word[1];
  identity.generation = word[2];
  identity.whole = word[0] == magic && word == make(word[1], word[2]);
  return identity;
}

std::string describe_sector(const std::byte* sector) {
  const SectorIdentity identity = identify_sector(sector);
  if (identity.zeros) return "zeros";
  const std::string name = "sector " + std::to_string(identity.number) + ", generation " +
                           std::to_string(identity.generation);
  if (identity.whole) return name;
  if (load(sector)[0] == magic) return "a mixture that begins like " + name;
  return "a mixture, hash " + std::to_string(hash_sector(sector));
}

}  // namespace plydisk::torture
