// The packed form of a frozen layer's index, against the rows that it was made from.
#include <random>
#include <vector>

#include "layer/frozen_index.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::mentions;

namespace {

struct FrozenIndexFixture {
  test::TemporaryDirectory directory;
  const LayerIdentity identity{"11111111-2222-4333-8444-555555555555", "", 1ULL << 40};
  const std::filesystem::path path = directory.path() / "index.sqlite";

  FrozenIndexFixture() { SectorIndex::create(path, identity, Durability::process); }
  void freeze(const std::vector<ChunkChange>& rows) {
    SectorIndex index(path, identity, Durability::process);
    index.commit(rows, {}, false);
    index.finish();
  }
  std::vector<ChunkChange> load() const {
    std::vector<ChunkChange> rows;
    load_frozen_index(path, identity, [&](const ChunkChange& row) { rows.push_back(row); });
    return rows;
  }
  void change(const char* sql) const { Database::open(path, Database::Mode::read_write).exec(sql); }
};

}  // namespace

TEST_CASE_FIXTURE(FrozenIndexFixture, "a frozen index gives the rows that were committed") {
  std::mt19937_64 random(3);
  std::vector<ChunkChange> rows;
  // Far apart and side by side, at both ends of the disk; enough for several runs.
  for (std::uint64_t chunk = 0; chunk < chunk_count(identity.disk_size);
       chunk += random() % 3 == 0 ? 1 : 1 + random() % 2000) {
    ChunkState state{SectorSet::all(), {}};
    if (random() % 2 == 0) state.valid = SectorSet::range(static_cast<unsigned>(random() % 64), 9);
    if (random() % 4 == 0) state.zero = SectorSet::range(static_cast<unsigned>(random() % 99), 29);
    rows.push_back({chunk, state});
  }
  rows.push_back({chunk_count(identity.disk_size) - 1, {SectorSet{}, SectorSet::range(3, 4)}});
  freeze(rows);
  CHECK(load() == rows);
  CHECK(check_frozen_index(path, identity).empty());
}

TEST_CASE_FIXTURE(FrozenIndexFixture, "an empty index can be frozen") {
  freeze({});
  CHECK(load().empty());
  CHECK(check_frozen_index(path, identity).empty());
}

TEST_CASE_FIXTURE(FrozenIndexFixture,
                  "an index that is written again after it was frozen is packed anew") {
  freeze({{7, {SectorSet::all(), {}}}});
  freeze({{9, {SectorSet::range(1, 1), {}}}});
  CHECK(load() ==
        std::vector<ChunkChange>{{7, {SectorSet::all(), {}}}, {9, {SectorSet::range(1, 1), {}}}});
}

TEST_CASE_FIXTURE(FrozenIndexFixture,
                  "a frozen index that is damaged or was never frozen is refused") {
  CHECK(error_of([&] { load(); }).code() != 0);
  freeze({{7, {SectorSet::all(), {}}}, {9, {SectorSet::range(1, 1), {}}}});
  const auto refused = [&](const char* sql) {
    change(sql);
    const Error error = error_of([&] { load(); });
    INFO(sql << ": " << error.what());
    CHECK(error.code() == EUCLEAN);
  };
  SUBCASE("cut short") { refused("UPDATE packed SET chunks = substr(chunks, 1, 5)"); }
  SUBCASE("a number without end") {
    refused("UPDATE packed SET chunks = x'00ffffffffffffffffffff7f'");
  }
  SUBCASE("past the end of the disk") { refused("UPDATE packed SET first = 16777216"); }
  SUBCASE("before the disk") { refused("UPDATE packed SET first = -1"); }
  SUBCASE("twice the same chunk") { refused("UPDATE packed SET chunks = x'00000000'"); }
  SUBCASE("another layer's") { refused("UPDATE meta SET value = 'x' WHERE key = 'uuid'"); }
}

TEST_CASE_FIXTURE(FrozenIndexFixture, "a check sees that the two forms differ") {
  freeze({{7, {SectorSet::all(), {}}}});
  change("UPDATE chunk SET chunk = 8");
  CHECK(load().size() == 1);
  const auto faults = check_frozen_index(path, identity);
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].find("not what the table of chunks says") != std::string::npos);
}
