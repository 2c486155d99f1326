// Sets of sectors.
#include <vector>

#include "base/units.hpp"
#include "test_support.hpp"

using plydisk::SectorSet;

TEST_CASE("a range of sectors has just these sectors") {
  for (unsigned first = 0; first <= plydisk::chunk_sectors; ++first) {
    for (unsigned count = 0; first + count <= plydisk::chunk_sectors; ++count) {
      const SectorSet set = SectorSet::range(first, count);
      bool right = set.count() == count;
      for (unsigned s = 0; s < plydisk::chunk_sectors; ++s)
        right &= set.test(s) == (s >= first && s < first + count);
      REQUIRE(right);
    }
  }
}

TEST_CASE("runs of a set come in order and whole") {
  SectorSet set = SectorSet::range(3, 2) | SectorSet::range(60, 8) | SectorSet::range(127, 1);
  std::vector<std::pair<unsigned, unsigned>> runs;
  set.for_each_run([&](unsigned first, unsigned count) { runs.emplace_back(first, count); });
  const std::vector<std::pair<unsigned, unsigned>> expected{{3, 2}, {60, 8}, {127, 1}};
  CHECK(runs == expected);

  runs.clear();
  SectorSet::all().for_each_run(
      [&](unsigned first, unsigned count) { runs.emplace_back(first, count); });
  CHECK(runs == std::vector<std::pair<unsigned, unsigned>>{{0, 128}});

  runs.clear();
  SectorSet{}.for_each_run(
      [&](unsigned first, unsigned count) { runs.emplace_back(first, count); });
  CHECK(runs.empty());
}

TEST_CASE("next finds the next sector of a set or 128") {
  const SectorSet set = SectorSet::range(64, 1);
  CHECK(set.next(0) == 64);
  CHECK(set.next(64) == 64);
  CHECK(set.next(65) == 128);
  CHECK(set.next_clear(64) == 65);
  CHECK(SectorSet::all().next_clear(0) == 128);
}
