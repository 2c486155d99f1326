// make-chain: gives an image of a store a new version that is a chain of frozen layers, and
// publishes it. Publishing by the command needs a session for each layer; measurements need dozens.
//
// With --write, layer i holds blocks i·N … (i+1)·N-1 of the permutation that nbd-slices writes with
// `--pattern once` and the same seed, with the same data: other servers get the same chain by it.
// Without, the layers hold chunks by their index alone, and their data reads as zeros: enough to
// measure how a version is opened, in a thousandth of the space.
#include <fcntl.h>
#include <getopt.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"
#include "layer/layer.hpp"
#include "load/requests.hpp"
#include "store/catalogue.hpp"

namespace {

using namespace plydisk;

struct Options {
  std::filesystem::path store;
  std::string image;
  unsigned layers = 1;
  std::uint64_t blocks = 0;  // of 4 KiB, to write into each layer
  std::uint64_t chunks = 0;  // to name in each layer's index
  bool whole = true;         // those chunks: in full, or one block of each
  std::uint64_t seed = 1;
  bool write = false;
};

constexpr std::uint64_t block_size = 4096;

Options parse(int argc, char** argv) {
  Options options;
  const option table[] = {{"store", required_argument, nullptr, 's'},
                          {"image", required_argument, nullptr, 'i'},
                          {"layers", required_argument, nullptr, 'l'},
                          {"blocks", required_argument, nullptr, 'b'},
                          {"chunks", required_argument, nullptr, 'c'},
                          {"shape", required_argument, nullptr, 'h'},
                          {"seed", required_argument, nullptr, 'e'},
                          {"write", no_argument, nullptr, 'w'},
                          {nullptr, 0, nullptr, 0}};
  for (int got; (got = getopt_long(argc, argv, "", table, nullptr)) != -1;) {
    switch (got) {
      case 's':
        options.store = optarg;
        break;
      case 'i':
        options.image = optarg;
        break;
      case 'l':
        options.layers = static_cast<unsigned>(std::stoul(optarg));
        break;
      case 'b':
        options.blocks = std::stoull(optarg);
        break;
      case 'c':
        options.chunks = std::stoull(optarg);
        break;
      case 'h':
        options.whole = std::string(optarg) == "whole";
        break;
      case 'e':
        options.seed = std::stoull(optarg);
        break;
      case 'w':
        options.write = true;
        break;
      default:
        std::exit(2);
    }
  }
  return options;
}

void write_layer(const Options& options, const LayerIdentity& identity,
                 const std::vector<std::uint32_t>& order, std::uint64_t first) {
  const auto layer = Layer::create(
      options.store / "layers" / identity.uuid, identity,
      {.kind = LayerKind::data, .durability = Durability::process, .boot_id = boot_id()});
  std::vector<char> data(block_size);
  bench::fill(data, options.seed);
  for (std::uint64_t i = first; i < first + options.blocks; ++i) {
    const std::uint64_t offset = order.at(i) * block_size;
    bench::stamp(data, offset);
    layer->write(data.data(), data.size(), offset);
  }
  layer->freeze();
}

void index_layer(const Options& options, const LayerIdentity& identity, std::mt19937_64& random) {
  const std::filesystem::path folder = options.store / "layers" / identity.uuid;
  std::filesystem::create_directory(folder);
  File::open(folder / Layer::data_name, O_RDWR | O_CREAT).truncate(identity.disk_size);
  const std::uint64_t all = chunk_count(identity.disk_size);
  std::vector<std::uint64_t> chosen(options.chunks);
  for (std::uint64_t& chunk : chosen) chunk = random() % all;
  std::sort(chosen.begin(), chosen.end());
  // A chunk that was drawn twice has a neighbour instead, so that the number is right.
  for (std::size_t i = 1; i < chosen.size(); ++i)
    chosen[i] = std::max(chosen[i], chosen[i - 1] + 1);
  std::vector<ChunkChange> changes;
  for (const std::uint64_t chunk : chosen) {
    ChunkState state;
    state.valid = options.whole ? SectorSet::all()
                                : SectorSet::range(static_cast<unsigned>(random() % 16) * 8, 8);
    if (chunk < all) changes.push_back({chunk, state});
  }
  const std::filesystem::path path = folder / SectorIndex::file_name;
  SectorIndex::create(path, identity, Durability::process);
  SectorIndex index(path, identity, Durability::process);
  index.commit(changes, {}, false);
  index.finish();
}

void run(const Options& options) {
  Catalogue catalogue(options.store);
  const ImageRecord image = catalogue.image(options.image);
  VersionRecord version{.image = image.name,
                        .number = image.published + 1,
                        .state = "published",
                        .created = image.created,
                        .layers = {}};
  std::vector<LayerRecord> records;
  std::mt19937_64 random(options.seed);
  bench::Permutation order;
  if (options.write) order = bench::make_permutation(image.size / block_size, options.seed);
  std::filesystem::create_directories(options.store / "layers");
  std::string parent;
  for (unsigned i = 0; i < options.layers; ++i) {
    const LayerIdentity identity{random_uuid(), parent, image.size};
    if (options.write)
      write_layer(options, identity, *order, i * options.blocks);
    else
      index_layer(options, identity, random);
    records.push_back({.uuid = identity.uuid,
                       .image = image.name,
                       .parent = parent,
                       .session = "",
                       .position = static_cast<int>(i),
                       .destination = Destination::server_persistent,
                       .kind = "data",
                       .state = "frozen",
                       .size = image.size,
                       .created = image.created});
    version.layers.push_back(identity.uuid);
    parent = identity.uuid;
  }
  catalogue.add_version(version, records);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make-chain: %s\n", error.what());
    return 1;
  }
  return 0;
}
