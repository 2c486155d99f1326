// A version of an image, open: its backing and its frozen layers, merged once into one map that all
// sessions of the version share. A read costs the same through one layer or fifty.
//
// The map has one 32-bit word a chunk: the owner of the whole chunk, or the place of a list of
// runs. Words of chunks that no layer holds are never touched, so they cost no memory.
//
// Thread safety: immutable after construction.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backing/backing.hpp"
#include "base/mapped_file.hpp"
#include "base/units.hpp"
#include "layer/chunk_map.hpp"
#include "layer/sector_index.hpp"
#include "stack/source.hpp"

namespace plydisk {

// Which of a version's parts each sector comes from. Owners: 0 the backing, 1 zeros, 2+i layer i.
class VersionMap {
 public:
  using Owner = std::uint16_t;
  static constexpr Owner backing = 0, zeros = 1, first_layer = 2;

  explicit VersionMap(std::uint64_t disk_size);
  ~VersionMap();
  VersionMap(const VersionMap&) = delete;
  VersionMap& operator=(const VersionMap&) = delete;

  // Lays what a layer holds of a chunk over what is there. Not safe with other calls.
  void overlay(std::uint64_t chunk, const ChunkState& state, Owner layer);
  // Says that overlay() will come to this chunk soon.
  void prefetch(std::uint64_t chunk) const noexcept { __builtin_prefetch(&words_[chunk], 1); }

  // Calls fn(first, count, owner) for the runs of sectors first … first+count-1 of the chunk.
  template <typename Fn>
  void for_each_run(std::uint64_t chunk, unsigned first, unsigned count, Fn&& fn) const {
    const std::uint32_t word = words_[chunk];
    if ((word & is_list) == 0) return fn(first, count, static_cast<Owner>(word));
    const Run* const list = list_at(word & ~is_list);
    const unsigned runs = list[0].length, end = first + count;
    for (unsigned i = 0; i < runs && (i == 0 || list[i].first < end); ++i) {
      const unsigned from = std::max<unsigned>(i == 0 ? 0 : list[i].first, first);
      const unsigned to = std::min<unsigned>(i + 1 < runs ? list[i + 1].first : chunk_sectors, end);
      if (from < to) fn(from, to - from, list[i].owner);
    }
  }

 private:
  // Each run ends where the next begins. The first begins at sector 0, so it has room for how many
  // there are.
  struct Run {
    union {
      std::uint16_t first, length;
    };
    Owner owner;
  };
  using List = std::array<Run, chunk_sectors>;
  static constexpr std::uint32_t is_list = 1U << 31;
  static unsigned runs_over(Owner below, const ChunkState& state, Owner layer, List& list);
  static unsigned runs_of(const std::array<Owner, chunk_sectors>& owners, List& list);
  void store(std::uint64_t chunk, List& list, unsigned runs);
  // Lists lie in blocks, so that those which are there stay in place as more come.
  static constexpr std::uint32_t block_runs = 1U << 17;
  Run* list_at(std::uint32_t place) const noexcept {
    return &blocks_[place / block_runs][place % block_runs];
  }
  std::uint32_t new_list(unsigned runs);

  std::uint64_t words_length_;  // bytes
  std::uint32_t* words_ = nullptr;
  std::vector<std::unique_ptr<Run[]>> blocks_;
  std::uint32_t last_block_used_ = block_runs;  // runs of the last block
};

class Version {
 public:
  struct FrozenLayer {
    LayerIdentity identity;
    std::filesystem::path folder;
  };
  // Layers oldest first. EUCLEAN: one of them is damaged or has another parent.
  Version(std::shared_ptr<Backing> backing, const std::vector<FrozenLayer>& layers);

  std::uint64_t size() const noexcept { return backing_->size(); }
  Backing& backing() const noexcept { return *backing_; }
  const std::shared_ptr<Backing>& shared_backing() const noexcept { return backing_; }
  bool has_layers() const noexcept { return !data_.empty(); }
  // Of its layers, oldest first.
  std::vector<Source> layer_sources() const {
    std::vector<Source> sources;
    for (const auto& data : data_) sources.push_back(Source::file(*data));
    return sources;
  }

  // Calls fn(first, count, source) for the runs of the chunk's sectors first … first+count-1.
  template <typename Fn>
  void for_each_run(std::uint64_t chunk, unsigned first, unsigned count, Fn&& fn) const {
    map_.for_each_run(chunk, first, count, [&](unsigned from, unsigned n, VersionMap::Owner owner) {
      fn(from, n, source_of(owner));
    });
  }

 private:
  Source source_of(VersionMap::Owner owner) const noexcept {
    if (owner == VersionMap::backing) return Source::backing();
    if (owner == VersionMap::zeros) return Source::zeros();
    return Source::file(*data_[owner - VersionMap::first_layer]);
  }

  std::shared_ptr<Backing> backing_;
  std::vector<std::unique_ptr<MappedFile>> data_;
  VersionMap map_;
};

}  // namespace plydisk
