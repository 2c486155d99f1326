// Files of hashes: what is put in is found, and what is damaged or of something else is not
// believed.
#include <fcntl.h>

#include <map>
#include <string_view>

#include "base/file.hpp"
#include "stack/chunk_hashes.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;

namespace {

constexpr std::uint64_t hashed_size = 1ULL << 40;
constexpr const char* owner = "11111111-2222-4333-8444-555555555555";

ChunkHash hash_of_text(std::string_view text) { return hash_of(std::as_bytes(std::span(text))); }

struct ChunkHashesFixture {
  test::TemporaryDirectory directory;
  const std::filesystem::path& folder = directory.path();
  const std::filesystem::path file = folder / ChunkHashes::file_name;
  const std::filesystem::path unfinished = folder / "hashes.sqlite.new";
  // In groups of 256: both ends of one, one alone, one at the end of the disk.
  const std::vector<std::uint64_t> chunks{0, 1, 255, 256, 511, 70000, hashed_size / chunk_size - 1};

  std::map<std::uint64_t, ChunkHash> write(const std::string& salt) const {
    std::map<std::uint64_t, ChunkHash> written;
    ChunkHashWriter writer(folder, owner, hashed_size);
    for (const std::uint64_t chunk : chunks) {
      written[chunk] = hash_of_text(salt + std::to_string(chunk));
      writer.add(chunk, written[chunk]);
    }
    writer.finish();
    return written;
  }
  std::unique_ptr<ChunkHashes> open() const {
    return ChunkHashes::open(folder, owner, hashed_size);
  }
  std::optional<ChunkHash> find(std::uint64_t chunk) const {
    std::optional<ChunkHash> found;
    open()->for_each_of(std::array{chunk}, [&](std::uint64_t number, const ChunkHash& hash) {
      CHECK(number == chunk);
      found = hash;
    });
    return found;
  }
  void change(const char* sql) const { Database::open(file, Database::Mode::read_write).exec(sql); }
};

}  // namespace

TEST_CASE("chunk hashes: SHA-256, of a last chunk that is shorter too") {
  const ChunkHash hash = hash_of_text("abc");
  CHECK(std::to_integer<unsigned>(hash[0]) == 0xba);
  CHECK(std::to_integer<unsigned>(hash[31]) == 0xad);
  CHECK(chunk_length(0, 3 * chunk_size + 512) == chunk_size);
  CHECK(chunk_length(3, 3 * chunk_size + 512) == 512);
}

TEST_CASE_FIXTURE(ChunkHashesFixture, "chunk hashes: what was added is found, in order") {
  CHECK(open() == nullptr);
  const auto written = write("a");
  const auto hashes = open();
  REQUIRE(hashes);
  std::vector<std::uint64_t> order;
  hashes->for_each([&](std::uint64_t chunk, const ChunkHash& hash) {
    order.push_back(chunk);
    CHECK(hash == written.at(chunk));
  });
  CHECK(order == chunks);
  for (const auto& [chunk, hash] : written) CHECK(find(chunk) == hash);
  for (const std::uint64_t absent : {2, 254, 257, 512, 69999, 90000}) CHECK_FALSE(find(absent));
  std::vector<std::uint64_t> found;
  hashes->for_each_of(std::array<std::uint64_t, 5>{1, 2, 256, 60000, 70000},
                      [&](std::uint64_t chunk, const ChunkHash& hash) {
                        found.push_back(chunk);
                        CHECK(hash == written.at(chunk));
                      });
  CHECK(found == std::vector<std::uint64_t>{1, 256, 70000});
}

TEST_CASE_FIXTURE(ChunkHashesFixture, "chunk hashes: a file of none is one of none") {
  ChunkHashWriter(folder, owner, hashed_size).finish();
  const auto hashes = open();
  REQUIRE(hashes);
  hashes->for_each([](std::uint64_t, const ChunkHash&) { CHECK(false); });
}

TEST_CASE_FIXTURE(ChunkHashesFixture, "chunk hashes: those of something else are none") {
  write("a");
  CHECK(ChunkHashes::open(folder, "11111111-2222-4333-8444-555555555556", hashed_size) == nullptr);
  CHECK(ChunkHashes::open(folder, owner, hashed_size - 512) == nullptr);
  change("UPDATE meta SET value = '2' WHERE key = 'format'");
  CHECK(open() == nullptr);
}

TEST_CASE_FIXTURE(ChunkHashesFixture, "chunk hashes: a damaged file is not believed") {
  write("a");
  SUBCASE("too few hashes") { change("UPDATE hash SET hashes = substr(hashes, 2) WHERE grp = 0"); }
  SUBCASE("too few bits") { change("UPDATE hash SET present = x'ff' WHERE grp = 0"); }
  SUBCASE("no database") { File::open(file, O_WRONLY).write("garbage", 7, 0); }
  SUBCASE("cut off") { File::open(file, O_WRONLY).truncate(16384 + 100); }
  const Error error = error_of([&] {
    const auto hashes = open();
    REQUIRE(hashes);
    hashes->for_each([](std::uint64_t, const ChunkHash&) {});
  });
  CHECK(error.code() == EUCLEAN);
}

TEST_CASE_FIXTURE(ChunkHashesFixture, "chunk hashes: they appear complete or not at all") {
  const auto written = write("a");
  {
    ChunkHashWriter given_up(folder, owner, hashed_size);
    given_up.add(3, hash_of_text("b"));
    CHECK(std::filesystem::exists(unfinished));
  }
  CHECK_FALSE(std::filesystem::exists(unfinished));
  CHECK(find(1) == written.at(1));
  CHECK_FALSE(find(3));
  // What a crash left behind is in nobody's way.
  File::open(unfinished, O_RDWR | O_CREAT).write("half", 4, 0);
  CHECK(find(1) == written.at(1));
  const auto again = write("c");
  CHECK(find(1) == again.at(1));
  CHECK_FALSE(std::filesystem::exists(unfinished));
  ChunkHashes::remove(folder);
  CHECK(open() == nullptr);
  ChunkHashes::remove(folder);
}
