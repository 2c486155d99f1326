// Sets of sectors, and sizes as users write them.
#include <vector>

#include "base/byte_size.hpp"
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

TEST_CASE("sizes are numbers of bytes, or of K, M, G or T") {
  using plydisk::parse_byte_size;
  CHECK(parse_byte_size("0") == 0);
  CHECK(parse_byte_size("4096") == 4096);
  CHECK(parse_byte_size("3K") == 3072);
  CHECK(parse_byte_size("16777215T") == 16777215ULL << 40U);
  for (const char* wrong : {"", "K", "1k", "1KB", "1.5G", "-1", "+1", " 1", "1 ", "0x10",
                            "16777216T", "18446744073709551616"})
    CHECK_FALSE(parse_byte_size(wrong));
}
