// Merged layers, against arrays of what each version reads as.
#include <fcntl.h>

#include <cstring>
#include <map>
#include <random>

#include "backing/nbd_backing.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"
#include "layer/frozen_index.hpp"
#include "layer/layer.hpp"
#include "stack/chunk_hashes.hpp"
#include "stack/merge_layers.hpp"
#include "stack/stack.hpp"
#include "storage_faults.hpp"
#include "test_support.hpp"

using namespace plydisk;

namespace {

using Bytes = std::vector<std::byte>;
using Layers = std::vector<Version::FrozenLayer>;

// Not a whole number of chunks: the last one is partial.
constexpr std::uint64_t merge_sectors = 6 * chunk_sectors + 7;
constexpr std::uint64_t merge_size = merge_sectors * sector_size;

struct MergeFixture {
  test::TemporaryDirectory directory;
  std::mt19937_64 random{11};
  Layers layers;
  // Of the versions that have none, the first, the first two … of the layers.
  std::vector<Bytes> contents;

  MergeFixture() {
    contents.emplace_back(merge_size);
    for (auto& byte : contents.back()) byte = std::byte(random());
    File::open(backing_path(), O_RDWR | O_CREAT).write(contents[0].data(), merge_size, 0);
    for (unsigned i = 0; i < 5; ++i) add_layer();
  }
  std::filesystem::path backing_path() const { return directory.path() / "disk"; }

  Version::FrozenLayer new_layer(const std::string& parent) const {
    const std::string uuid = random_uuid();
    return {{uuid, parent, merge_size}, directory.path() / uuid};
  }
  // Data and zeros over parts of chunks, chunks as a whole, and the last, partial one.
  void add_layer() {
    const auto made = new_layer(layers.empty() ? "" : layers.back().identity.uuid);
    const auto layer = Layer::create(made.folder, made.identity, {});
    Bytes content = contents.back();
    for (unsigned i = 0; i < 12; ++i) {
      const bool is_whole = i % 4 == 0;
      const std::uint64_t first =
          is_whole ? random() % 6 * chunk_sectors : random() % merge_sectors;
      const std::uint64_t count =
          is_whole ? chunk_sectors
                   : 1 + random() % std::min<std::uint64_t>(40, merge_sectors - first);
      const std::uint64_t at = first * sector_size, length = count * sector_size;
      if (random() % 3 == 0) {
        std::memset(&content[at], 0, length);
        layer->zero(at, length);
      } else {
        std::memset(&content[at], static_cast<int>(random() % 255 + 1), length);
        layer->write(&content[at], length, at);
      }
    }
    layer->freeze();
    layers.push_back(made);
    contents.push_back(std::move(content));
  }

  Stack stack_of(const Layers& some) const {
    Stack stack;
    stack.version =
        std::make_shared<const Version>(open_backing(backing_path().string(), {}), some);
    return stack;
  }
  Bytes read(const Layers& some) const {
    Bytes content(merge_size);
    stack_of(some).read(content.data(), content.size(), 0);
    return content;
  }
  Layers below(std::size_t count) const {
    return {layers.begin(), layers.begin() + static_cast<std::ptrdiff_t>(count)};
  }
  // Layers first … last become one; the others stay around it.
  Layers with_merged(std::size_t first, std::size_t last) {
    const auto merged = new_layer(first == 0 ? "" : layers[first - 1].identity.uuid);
    const auto begin = layers.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = layers.begin() + static_cast<std::ptrdiff_t>(last) + 1;
    merge_layers({begin, end}, merged, {});
    Layers now = below(first);
    now.push_back(merged);
    now.insert(now.end(), end, layers.end());
    return now;
  }
  void hash(std::size_t number) const {
    const auto& [identity, folder] = layers[number];
    std::vector<std::uint64_t> chunks;
    load_frozen_index(folder / SectorIndex::file_name, identity,
                      [&](const ChunkChange& row) { chunks.push_back(row.chunk); });
    ChunkHashWriter writer(folder, identity.uuid, merge_size);
    hash_chunks(stack_of(below(number + 1)), chunks, {},
                [&](std::uint64_t chunk, const ChunkHash& one) { writer.add(chunk, one); });
    writer.finish();
  }
  void check_all_runs() {
    for (std::size_t first = 0; first < layers.size(); ++first)
      for (std::size_t last = first + 1; last < layers.size(); ++last) {
        const Layers now = with_merged(first, last);
        // The merged layer on top, and with the later ones over it.
        for (std::size_t kept = first + 1; kept <= now.size(); ++kept)
          CHECK(read({now.begin(), now.begin() + static_cast<std::ptrdiff_t>(kept)}) ==
                contents[kept + last - first]);
        // The versions that were there before are as they were.
        for (std::size_t count = 0; count <= layers.size(); ++count)
          CHECK(read(below(count)) == contents[count]);
        CHECK(check_frozen_index(now[first].folder / SectorIndex::file_name, now[first].identity)
                  .empty());
      }
  }
  static auto names_of_data(const Version::FrozenLayer& layer) {
    return std::filesystem::hard_link_count(layer.folder / Layer::data_name);
  }
};

}  // namespace

TEST_CASE_FIXTURE(MergeFixture, "merged layers read as those did that they were made of") {
  check_all_runs();
  CHECK(names_of_data(with_merged(1, 3)[1]) > 1);
}

TEST_CASE_FIXTURE(MergeFixture, "layers are merged where files have one name each") {
  const plydisk::test::NoHardLinks no_links;
  check_all_runs();
  CHECK(names_of_data(with_merged(1, 3)[1]) == 1);
}

TEST_CASE_FIXTURE(MergeFixture, "a merged layer is merged again") {
  layers = with_merged(1, 2);
  layers = with_merged(0, 2);
  REQUIRE(layers.size() == 2);
  CHECK(read(layers) == contents[5]);
  CHECK(read(below(1)) == contents[4]);
}

TEST_CASE_FIXTURE(MergeFixture, "what a merge has left in the newest layer's file is freed") {
  const auto& newest = layers[3];
  // Without the blocks that the file system itself needs for a file in many pieces.
  const auto allocated = [&] {
    const auto data = open_backing((newest.folder / Layer::data_name).string(), {});
    std::uint64_t bytes = 0;
    data->for_each_extent(0, data->size(), [&](std::uint64_t, std::uint64_t length, bool is_zero) {
      if (!is_zero) bytes += length;
    });
    return bytes;
  };
  CHECK(free_unused(newest, false) == 0);
  const std::uint64_t before = allocated();
  // Given up with the copies made.
  std::filesystem::remove_all(with_merged(0, 3).front().folder);
  CHECK(allocated() > before);
  const std::uint64_t unused = allocated() - before;
  CHECK(free_unused(newest, true) == unused);
  CHECK(allocated() > before);
  CHECK(free_unused(newest, false) == unused);
  CHECK(allocated() == before);
  CHECK(free_unused(newest, false) == 0);
  for (std::size_t count = 0; count <= layers.size(); ++count)
    CHECK(read(below(count)) == contents[count]);
  // What another layer has a part in is not touched.
  const auto merged = with_merged(0, 3);
  CHECK(free_unused(newest, false) == 0);
  CHECK(read(merged) == contents[5]);
}

TEST_CASE_FIXTURE(MergeFixture, "hashes are merged if all layers have them") {
  for (std::size_t number = 0; number < layers.size(); ++number) {
    // The topmost has none yet.
    if (number == 3)
      CHECK_FALSE(std::filesystem::exists(with_merged(1, 3)[1].folder / ChunkHashes::file_name));
    hash(number);
  }
  const auto merged = with_merged(1, 3)[1];
  const auto hashes = ChunkHashes::open(merged.folder, merged.identity.uuid, merge_size);
  REQUIRE(hashes);
  std::vector<std::uint64_t> held, hashed;
  load_frozen_index(merged.folder / SectorIndex::file_name, merged.identity,
                    [&](const ChunkChange& row) { held.push_back(row.chunk); });
  hashes->for_each([&](std::uint64_t chunk, const ChunkHash& hash) {
    hashed.push_back(chunk);
    CHECK(hash == hash_of({&contents[4][chunk * chunk_size], chunk_length(chunk, merge_size)}));
  });
  CHECK(hashed == held);
}

TEST_CASE_FIXTURE(MergeFixture, "chunks are hashed in order, from several threads") {
  std::vector<std::uint64_t> chunks, order;
  for (unsigned i = 0; i < 3000; ++i) chunks.push_back(i % 7);
  hash_chunks(stack_of(layers), chunks, {}, [&](std::uint64_t chunk, const ChunkHash& hash) {
    order.push_back(chunk);
    if (order.size() < 8)
      CHECK(hash == hash_of({&contents[5][chunk * chunk_size], chunk_length(chunk, merge_size)}));
  });
  CHECK(order == chunks);
}
