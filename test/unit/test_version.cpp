// Frozen layers merged into one map, against a plain array of owners.
#include <array>
#include <random>

#include "stack/version.hpp"
#include "test_support.hpp"

using namespace plydisk;

namespace {

using Owners = std::array<VersionMap::Owner, chunk_sectors>;

Owners owners_of(const VersionMap& map, std::uint64_t chunk) {
  Owners owners{};
  unsigned next = 0;
  map.for_each_run(chunk, 0, chunk_sectors, [&](unsigned first, unsigned count, auto owner) {
    REQUIRE(first == next);
    std::fill_n(owners.begin() + first, count, owner);
    next = first + count;
  });
  REQUIRE(next == chunk_sectors);
  return owners;
}

}  // namespace

TEST_CASE("an empty map says that all is in the backing") {
  const VersionMap map(1 << 20);
  CHECK(owners_of(map, 7) == Owners{});
}

TEST_CASE("layers laid over each other agree with an array of owners") {
  constexpr std::uint64_t chunks = 40;
  VersionMap map(chunks * chunk_size);
  std::array<Owners, chunks> expected{};
  std::mt19937 generator(7);
  const auto random = [&] { return static_cast<unsigned>(generator()); };
  for (VersionMap::Owner layer = 2; layer < 60; ++layer) {
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
      if (random() % 3 == 0) continue;
      ChunkState state;
      for (unsigned run = 0; run < random() % 5; ++run) {
        const unsigned first = random() % chunk_sectors;
        const SectorSet set = SectorSet::range(first, 1 + random() % (chunk_sectors - first));
        switch (random() % 4) {
          case 0:
            state = {state.valid | set, state.zero | set};
            break;
          case 1:
            state = {state.valid & ~set, state.zero | set};
            break;
          default:
            state = {state.valid | set, state.zero & ~set};
        }
      }
      if (random() % 10 == 0) state = {SectorSet::all(), {}};
      map.overlay(chunk, state, layer);
      for (unsigned s = 0; s < chunk_sectors; ++s) {
        if (state.data().test(s)) expected[chunk][s] = layer;
        if (state.zeros().test(s)) expected[chunk][s] = VersionMap::zeros;
        if (state.pass().test(s)) expected[chunk][s] = VersionMap::backing;
      }
    }
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk)
      REQUIRE(owners_of(map, chunk) == expected[chunk]);
  }
}

TEST_CASE("a part of a chunk gives the runs inside it alone") {
  VersionMap map(chunk_size);
  map.overlay(0, {SectorSet::range(10, 20), {}}, 2);
  std::vector<std::array<unsigned, 3>> runs;
  map.for_each_run(0, 5, 10, [&](unsigned first, unsigned count, auto owner) {
    runs.push_back({first, count, owner});
  });
  CHECK(runs == std::vector<std::array<unsigned, 3>>{{5, 5, 0}, {10, 5, 2}});
}
