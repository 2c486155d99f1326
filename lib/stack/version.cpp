#include "stack/version.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <array>
#include <future>
#include <new>

#include "base/error.hpp"
#include "layer/frozen_index.hpp"
#include "layer/layer.hpp"

namespace plydisk {

namespace {

// The map of a large disk is not in the processor's caches: so many rows take as long as memory
// does.
constexpr std::size_t rows_ahead = 16;

}  // namespace

VersionMap::VersionMap(std::uint64_t disk_size)
    : words_length_((chunk_count(disk_size) + 1) * sizeof(std::uint32_t)) {
  void* const memory = ::mmap(nullptr, words_length_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  words_ = static_cast<std::uint32_t*>(memory);
}

VersionMap::~VersionMap() { ::munmap(words_, words_length_); }

void VersionMap::overlay(std::uint64_t chunk, const ChunkState& state, Owner layer) {
  if (state.data().full()) {
    words_[chunk] = layer;
    return;
  }
  List list;
  if (const std::uint32_t word = words_[chunk]; (word & is_list) == 0 && state.zero.empty())
    return store(chunk, list, runs_over(static_cast<Owner>(word), state, layer, list));
  std::array<Owner, chunk_sectors> owners;
  for_each_run(chunk, 0, chunk_sectors, [&](unsigned first, unsigned count, Owner owner) {
    std::fill_n(owners.begin() + first, count, owner);
  });
  const auto fill = [&](const SectorSet& set, Owner owner) {
    set.for_each_run(
        [&](unsigned first, unsigned count) { std::fill_n(owners.begin() + first, count, owner); });
  };
  fill(state.data(), layer);
  fill(state.zeros(), zeros);
  fill(state.pass(), backing);
  store(chunk, list, runs_of(owners, list));
}

// The usual case, spared the sectors one by one: some data over a chunk that had one owner.
unsigned VersionMap::runs_over(Owner below, const ChunkState& state, Owner layer, List& list) {
  unsigned runs = 0, next = 0;
  const auto add = [&](unsigned first, Owner owner) {
    list[runs].first = static_cast<std::uint16_t>(first);
    list[runs++].owner = owner;
  };
  state.valid.for_each_run([&](unsigned first, unsigned count) {
    if (next < first) add(next, below);
    add(first, layer);
    next = first + count;
  });
  if (next < chunk_sectors) add(next, below);
  return runs;
}

unsigned VersionMap::runs_of(const std::array<Owner, chunk_sectors>& owners, List& list) {
  unsigned runs = 0;
  for (unsigned sector = 0; sector < chunk_sectors; ++sector) {
    if (sector > 0 && owners[sector] == owners[sector - 1]) continue;
    list[runs].first = static_cast<std::uint16_t>(sector);
    list[runs++].owner = owners[sector];
  }
  return runs;
}

void VersionMap::store(std::uint64_t chunk, List& list, unsigned runs) {
  if (runs == 1) {
    words_[chunk] = list[0].owner;
    return;
  }
  list[0].length = static_cast<std::uint16_t>(runs);
  // Where the new list is no longer than the old one, it takes its place.
  std::uint32_t place = words_[chunk] & ~is_list;
  if ((words_[chunk] & is_list) == 0 || list_at(place)->length < runs) place = new_list(runs);
  std::copy_n(list.begin(), runs, list_at(place));
  words_[chunk] = is_list | place;
}

std::uint32_t VersionMap::new_list(unsigned runs) {
  if (block_runs - last_block_used_ < runs) {
    if (blocks_.size() == is_list / block_runs)
      throw Error(ENOMEM, "the version has too many fragments; merge its layers");
    blocks_.push_back(std::make_unique_for_overwrite<Run[]>(block_runs));
    last_block_used_ = 0;
  }
  const auto place = static_cast<std::uint32_t>(blocks_.size() - 1) * block_runs + last_block_used_;
  last_block_used_ += runs;
  return place;
}

Version::Version(std::shared_ptr<Backing> backing, const std::vector<FrozenLayer>& layers)
    : backing_(std::move(backing)), map_(backing_->size()) {
  if (layers.size() > 0xfff0U) throw Error(EINVAL, "the version has too many layers; merge them");
  const auto load = [](const FrozenLayer& layer) {
    std::vector<ChunkChange> rows;
    load_frozen_index(layer.folder / SectorIndex::file_name, layer.identity,
                      [&](const ChunkChange& row) { rows.push_back(row); });
    return rows;
  };
  // One layer is read from SQLite while the one before it is merged.
  std::future<std::vector<ChunkChange>> next;
  if (!layers.empty()) next = std::async(std::launch::async, load, layers[0]);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::vector<ChunkChange> rows = next.get();
    if (i + 1 < layers.size()) next = std::async(std::launch::async, load, layers[i + 1]);
    File data = File::open(layers[i].folder / Layer::data_name, O_RDONLY);
    if (data.size() < size())
      throw Error(EUCLEAN, data.path() + " was truncated; restore it from a backup");
    data_.push_back(std::make_unique<MappedFile>(std::move(data), size()));
    const auto owner = static_cast<VersionMap::Owner>(VersionMap::first_layer + i);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      map_.prefetch(rows[std::min(row + rows_ahead, rows.size() - 1)].chunk);
      map_.overlay(rows[row].chunk, rows[row].state, owner);
    }
  }
}

}  // namespace plydisk
