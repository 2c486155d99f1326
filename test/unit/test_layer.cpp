// One layer: its states, its index, and what it refuses when it is opened.
#include <fcntl.h>

#include <thread>
#include <vector>

#include "base/file.hpp"
#include "layer/frozen_index.hpp"
#include "layer/layer.hpp"
#include "storage_faults.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::FailingSqliteWrites;
using plydisk::test::FailingSyncs;
using plydisk::test::mentions;
using plydisk::test::TemporaryDirectory;

namespace {

constexpr std::uint64_t disk_size = 4 << 20;

struct LayerFixture {
  TemporaryDirectory directory;
  LayerIdentity identity{"11111111-2222-4333-8444-555555555555", "", disk_size};
  LayerOptions options{LayerKind::data, Durability::durable, "boot-1", {}};
  std::filesystem::path folder() const { return directory.path() / "layer"; }

  std::shared_ptr<Layer> create() { return Layer::create(folder(), identity, options); }
  std::shared_ptr<Layer> open() { return Layer::open(folder(), identity, options); }
  // Opens it as after a reboot of the machine.
  std::shared_ptr<Layer> open_after_reboot() {
    options.boot_id += "x";
    return open();
  }
};

void put(Layer& layer, std::uint64_t offset, const std::vector<char>& bytes) {
  layer.write(bytes.data(), bytes.size(), offset);
}

std::vector<char> get(const Layer& layer, std::uint64_t offset, std::size_t length) {
  std::vector<char> bytes(length);
  layer.data().read(bytes.data(), length, offset);
  return bytes;
}

}  // namespace

TEST_CASE_FIXTURE(LayerFixture, "a layer holds what was written and nothing else") {
  const auto layer = create();
  CHECK(layer->empty());
  put(*layer, chunk_size + 1024, std::vector<char>(512, 'a'));
  CHECK_FALSE(layer->empty());
  CHECK(layer->find(0).empty());
  CHECK(layer->find(1).data() == SectorSet::range(2, 1));
  CHECK(get(*layer, chunk_size + 1024, 512) == std::vector<char>(512, 'a'));
  CHECK(layer->check().empty());
}

TEST_CASE_FIXTURE(LayerFixture, "zeroes are held, and data can follow them") {
  const auto layer = create();
  put(*layer, 0, std::vector<char>(4096, 'a'));
  layer->zero(1024, 2 * chunk_size);
  CHECK(layer->find(0).data() == SectorSet::range(0, 2));
  CHECK(layer->find(0).zeros() == SectorSet::range(2, 126));
  CHECK(layer->find(1).zeros().full());
  CHECK(layer->find(2).zeros() == SectorSet::range(0, 2));
  put(*layer, 2048, std::vector<char>(512, 'b'));
  CHECK(layer->find(0).data() == (SectorSet::range(0, 2) | SectorSet::range(4, 1)));
  CHECK(get(*layer, 1024, 512) == std::vector<char>(512, 0));
}

TEST_CASE_FIXTURE(LayerFixture, "a crash of the process loses nothing that was written") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->zero(chunk_size, 512);
    // No flush, no settling: as if killed.
  }
  {
    const auto layer = open();
    CHECK(layer->find(0).data() == SectorSet::range(1, 1));
    CHECK(layer->find(1).zeros() == SectorSet::range(0, 1));
    // And the next flush saves it for a reboot.
    layer->flush();
  }
  CHECK(open_after_reboot()->find(0).data() == SectorSet::range(1, 1));
}

TEST_CASE_FIXTURE(LayerFixture, "after a reboot a durable layer is what its index says") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->flush();
    put(*layer, 2048, std::vector<char>(512, 'b'));  // never flushed
  }
  const auto layer = open_after_reboot();
  CHECK(layer->find(0).data() == SectorSet::range(1, 1));
  CHECK(get(*layer, 512, 512) == std::vector<char>(512, 'a'));
}

TEST_CASE_FIXTURE(LayerFixture, "pending records are copied to the data file after a reboot") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->flush();  // small: the data is in the index
  }
  // What a power cut may do to data that was never synced.
  File::open(folder() / Layer::data_name, O_RDWR).punch(0, chunk_size);
  CHECK(get(*open_after_reboot(), 512, 512) == std::vector<char>(512, 'a'));
}

TEST_CASE_FIXTURE(LayerFixture, "a record never wins over data that was flushed later") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->flush();  // record of 'a'
    put(*layer, 512, std::vector<char>(512, 'b'));
    layer->flush();  // in place
  }
  CHECK(get(*open_after_reboot(), 512, 512) == std::vector<char>(512, 'b'));
}

TEST_CASE_FIXTURE(LayerFixture, "what is zeroed in small pieces is given back, and nothing else") {
  const auto layer = create();
  put(*layer, 0, std::vector<char>(chunk_size, 'a'));
  const std::uint64_t before = allocated_in(folder() / Layer::data_name);
  for (std::uint64_t offset = 512; offset < chunk_size - 4096; offset += 512)
    layer->zero(offset, 512);
  // The first page has a sector left, and the last one all.
  CHECK(allocated_in(folder() / Layer::data_name) == before - chunk_size + 8192);
  CHECK(get(*layer, 0, 512) == std::vector<char>(512, 'a'));
  CHECK(get(*layer, chunk_size - 4096, 4096) == std::vector<char>(4096, 'a'));
  CHECK(get(*layer, 512, chunk_size - 4608) == std::vector<char>(chunk_size - 4608, 0));
}

TEST_CASE_FIXTURE(LayerFixture, "zero and write again between two flushes is synced") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->flush();
    layer->zero(512, 512);
    put(*layer, 512, std::vector<char>(512, 'c'));
    layer->flush();
  }
  CHECK(get(*open_after_reboot(), 512, 512) == std::vector<char>(512, 'c'));
}

TEST_CASE_FIXTURE(LayerFixture, "a volatile layer survives the process but not the machine") {
  options.durability = Durability::process;
  put(*create(), 0, std::vector<char>(512, 'v'));
  CHECK(open()->find(0).data() == SectorSet::range(0, 1));
  CHECK(error_of([&] { open_after_reboot(); }).code() == ESTALE);
}

// The kernel writes a file's pages whole, whatever becomes of the process; a copy into a mapping
// ends at any byte.
TEST_CASE("only a layer whose sectors may tear is written through a mapping") {
  if (::access("/dev/shm", W_OK) != 0) return;
  const TemporaryDirectory memory("/dev/shm");
  const LayerIdentity identity{"11111111-2222-4333-8444-555555555555", "", disk_size};
  LayerOptions options;
  options.boot_id = "boot-1";
  CHECK_FALSE(
      Layer::create(memory.path() / "whole", identity, options)->data().is_mapped_for_writing());
  options.may_tear = true;
  CHECK(Layer::create(memory.path() / "torn", identity, options)->data().is_mapped_for_writing());
}

TEST_CASE_FIXTURE(LayerFixture, "the index of a volatile layer is saved by maintenance") {
  options.durability = Durability::process;
  const auto layer = create();
  put(*layer, 0, std::vector<char>(512, 'v'));
  layer->maintain();
  layer->freeze();
  int rows = 0;
  load_frozen_index(folder() / SectorIndex::file_name, identity,
                    [&](const ChunkChange& row) { rows += row.state.data().count() == 1; });
  CHECK(rows == 1);
}

TEST_CASE_FIXTURE(LayerFixture, "a pass layer needs the backing synced before its index is") {
  int syncs = 0;
  options.kind = LayerKind::pass;
  options.sync_backing = [&] { ++syncs; };
  const auto layer = create();
  layer->mark_pass(3, SectorSet::range(5, 2));
  CHECK(layer->find(3).pass() == SectorSet::range(5, 2));
  layer->flush();
  CHECK(syncs == 1);
}

TEST_CASE_FIXTURE(LayerFixture, "a layer whose sync failed is stopped") {
  options.kind = LayerKind::pass;
  options.sync_backing = [] { throw Error(EIO, "the disk is gone"); };
  const auto layer = create();
  layer->mark_pass(0, SectorSet::range(0, 1));
  CHECK(error_of([&] { layer->flush(); }).code() == EIO);
  CHECK(error_of([&] { layer->flush(); }).code() == EIO);
  CHECK(error_of([&] { layer->mark_pass(0, SectorSet::range(1, 1)); }).code() == EIO);
}

TEST_CASE_FIXTURE(LayerFixture, "what a failed sync left in memory is not believed later") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    layer->flush();
    put(*layer, 512, std::vector<char>(512, 'b'));
    put(*layer, 2048, std::vector<char>(512, 'b'));
    const FailingSyncs failing("/data", EIO);
    CHECK(error_of([&] { layer->flush(); }).code() == EIO);
    CHECK(layer->find(0).data() == (SectorSet::range(1, 1) | SectorSet::range(4, 1)));
  }
  const auto layer = open();
  CHECK(layer->find(0).data() == SectorSet::range(1, 1));
  CHECK(get(*layer, 512, 512) == std::vector<char>(512, 'a'));
  put(*layer, 2048, std::vector<char>(512, 'c'));
  layer->flush();
}

TEST_CASE_FIXTURE(LayerFixture, "a full disk is no excuse for a failed sync") {
  const auto layer = create();
  put(*layer, 0, std::vector<char>(512, 'a'));
  layer->flush();
  put(*layer, 0, std::vector<char>(512, 'b'));  // which needs a sync
  const FailingSyncs failing("/data", ENOSPC);
  CHECK(error_of([&] { layer->flush(); }).code() == EIO);
  CHECK(mentions(error_of([&] { layer->flush(); }), "stopped"));
}

TEST_CASE_FIXTURE(LayerFixture, "what a failed commit left in memory is not believed later") {
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    const FailingSqliteWrites failing(EIO);
    CHECK(error_of([&] { layer->flush(); }).code() == EIO);
  }
  CHECK(open()->empty());
}

TEST_CASE_FIXTURE(LayerFixture, "a volatile layer's map is believed whatever failed") {
  options.durability = Durability::process;
  {
    const auto layer = create();
    put(*layer, 512, std::vector<char>(512, 'a'));
    const FailingSqliteWrites failing(EIO);
    CHECK(error_of([&] { layer->maintain(); }).code() == EIO);
  }
  CHECK(open()->find(0).data() == SectorSet::range(1, 1));
}

TEST_CASE_FIXTURE(LayerFixture, "a map that is older than the index is not believed") {
  const auto older_map = directory.path() / "map";
  const auto write_and_bring_back_the_map = [&] {
    {
      const auto layer = create();
      std::filesystem::copy_file(folder() / Layer::map_name, older_map);
      put(*layer, 512, std::vector<char>(512, 'a'));
      layer->flush();
      layer->maintain();
    }
    std::filesystem::copy_file(older_map, folder() / Layer::map_name,
                               std::filesystem::copy_options::overwrite_existing);
  };
  SUBCASE("a durable layer goes back to its index") {
    write_and_bring_back_the_map();
    // The data too is older than the record of it.
    File::open(folder() / Layer::data_name, O_RDWR).punch(0, chunk_size);
    const auto layer = open();
    CHECK(layer->find(0).data() == SectorSet::range(1, 1));
    CHECK(get(*layer, 512, 512) == std::vector<char>(512, 'a'));
  }
  SUBCASE("a volatile layer is refused") {
    options.durability = Durability::process;
    write_and_bring_back_the_map();
    CHECK(error_of([&] { open(); }).code() == EUCLEAN);
  }
}

TEST_CASE_FIXTURE(LayerFixture, "a map may have data where the index says pass") {
  {
    const auto layer = create();
    layer->import_state(0, {}, SectorSet::range(0, 4));
    layer->flush();
    put(*layer, 512, std::vector<char>(512, 'a'));
  }
  const auto layer = open();
  CHECK(layer->find(0).data() == SectorSet::range(1, 1));
  CHECK(layer->find(0).pass() == (SectorSet::range(0, 1) | SectorSet::range(2, 2)));
}

TEST_CASE_FIXTURE(LayerFixture, "a full disk does not stop a layer, nor does a quota") {
  {
    const auto layer = create();
    put(*layer, 0, std::vector<char>(512, 'a'));
    for (const int error : {ENOSPC, EDQUOT}) {
      const FailingSqliteWrites full(error);
      CHECK(error_of([&] { layer->flush(); }).code() == error);
    }
    layer->flush();
  }
  CHECK(open_after_reboot()->find(0).data() == SectorSet::range(0, 1));
}

TEST_CASE_FIXTURE(LayerFixture, "another layer's files are refused") {
  create();
  identity.uuid = "99999999-2222-4333-8444-555555555555";
  CHECK(mentions(error_of([&] { open(); }), "uuid"));
}

TEST_CASE_FIXTURE(LayerFixture, "a layer with another parent is refused") {
  create();
  identity.parent = "99999999-2222-4333-8444-555555555555";
  const Error error = error_of([&] { open(); });
  CHECK(error.code() == EUCLEAN);
  CHECK(mentions(error, "parent"));
}

TEST_CASE_FIXTURE(LayerFixture, "a truncated data file is refused") {
  create();
  File::open(folder() / Layer::data_name, O_RDWR).truncate(disk_size - 512);
  const Error error = error_of([&] { open(); });
  CHECK(error.code() == EUCLEAN);
  CHECK(mentions(error, "truncated"));
}

TEST_CASE_FIXTURE(LayerFixture, "a damaged index is refused") {
  create();
  const std::vector<char> junk(4096, 'x');
  File::open(folder() / SectorIndex::file_name, O_RDWR).write(junk.data(), junk.size(), 0);
  CHECK(error_of([&] { open(); }).code() == EUCLEAN);
}

TEST_CASE_FIXTURE(LayerFixture, "many writers and flushers together lose no sector") {
  constexpr unsigned writers = 4;
  {
    const auto layer = create();
    std::vector<std::thread> threads;
    std::atomic<bool> done{false};
    std::thread flusher([&] {
      while (!done) layer->flush();
    });
    for (unsigned t = 0; t < writers; ++t)
      threads.emplace_back([&, t] {
        // Neighbours in each chunk, so that all share its entry.
        for (std::uint64_t sector = t; sector < disk_size / sector_size; sector += writers) {
          const std::vector<char> bytes(sector_size, static_cast<char>('a' + t));
          put(*layer, sector * sector_size, bytes);
        }
      });
    for (auto& thread : threads) thread.join();
    done = true;
    flusher.join();
    layer->flush();
  }
  const auto layer = open_after_reboot();
  for (std::uint64_t chunk = 0; chunk < chunk_count(disk_size); ++chunk)
    REQUIRE(layer->find(chunk).data().full());
  for (std::uint64_t sector = 0; sector < disk_size / sector_size; ++sector)
    REQUIRE(get(*layer, sector * sector_size, 1)[0] == static_cast<char>('a' + sector % writers));
}
