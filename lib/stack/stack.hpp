// What a session reads through: its layers, newest first, then the image version. Reading and
// folding are here; who may change the stack, and when, is Disk's matter.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/progress.hpp"
#include "layer/layer.hpp"
#include "stack/version.hpp"

namespace plydisk {

struct Stack {
  std::vector<std::shared_ptr<Layer>> layers;  // newest first
  std::shared_ptr<const Version> version;

  // Reads `length` bytes of the disk at byte `offset`.
  void read(void* buffer, std::size_t length, std::uint64_t offset) const;
  void prefetch(std::uint64_t offset, std::uint64_t length) const;
  // Calls fn(offset, length, is_zero) over the range, in order, without gaps.
  void for_each_extent(std::uint64_t offset, std::uint64_t length,
                       const Backing::ExtentFn& fn) const;

  // Calls fn(source, offset, length), in bytes of the disk, over the range in order, adjacent
  // pieces of one source joined.
  template <typename Fn>
  void for_each_source(std::uint64_t offset, std::uint64_t length, Fn&& fn) const {
    Source source;
    std::uint64_t from = offset, to = offset;
    const auto add = [&](Source piece, std::uint64_t piece_end) {
      if (piece != source || from == to) {
        if (from != to) fn(source, from, to - from);
        source = piece;
        from = to;
      }
      to = piece_end;
    };
    const std::uint64_t end = offset + length;
    while (to < end) {
      const std::uint64_t chunk = to / chunk_size;
      const std::uint64_t stop = std::min(end, (chunk + 1) * chunk_size);
      resolve(chunk, to % chunk_size, stop - chunk * chunk_size,
              [&, base = chunk * chunk_size](Source piece, std::uint64_t piece_end) {
                add(piece, base + piece_end);
              });
    }
    if (from != to) fn(source, from, to - from);
  }

 private:
  void prefetch_piece(Source source, std::uint64_t offset, std::uint64_t length) const;
  // Resolves bytes `from` … `to` of a chunk: fn(source, end of the piece).
  template <typename Fn>
  void resolve(std::uint64_t chunk, std::uint64_t from, std::uint64_t to, Fn&& fn) const {
    const auto first = static_cast<unsigned>(from / sector_size);
    const auto count = static_cast<unsigned>((to + sector_size - 1) / sector_size) - first;
    const auto give = [&](Source source, unsigned end) {
      fn(source, std::min<std::uint64_t>(to, end * sector_size));
    };
    const auto from_version = [&](unsigned at, unsigned n, auto&& put) {
      version->for_each_run(chunk, at, n, put);
    };
    const SectorSet wanted = SectorSet::range(first, count);
    SectorSet missing = wanted;
    std::array<Source, chunk_sectors> sources;
    const auto fill = [&](const SectorSet& set, Source source) {
      set.for_each_run([&](unsigned at, unsigned n) { std::fill_n(&sources[at], n, source); });
    };
    for (const auto& layer : layers) {
      const ChunkState state = layer->find(chunk);
      const SectorSet here = (state.valid | state.zero) & missing;
      if (here.empty()) continue;
      const SectorSet data = state.data() & here;
      if (data == wanted) return give(Source::file(layer->data()), first + count);
      fill(data, Source::file(layer->data()));
      fill(state.zeros() & here, Source::zeros());
      fill(state.pass() & here, Source::backing());
      missing &= ~here;
      if (missing.empty()) break;
    }
    if (missing == wanted)
      return from_version(first, count,
                          [&](unsigned at, unsigned n, Source source) { give(source, at + n); });
    missing.for_each_run([&](unsigned at, unsigned n) {
      from_version(at, n, [&](unsigned part, unsigned parts, Source source) {
        std::fill_n(&sources[part], parts, source);
      });
    });
    for (unsigned sector = first; sector < first + count;) {
      unsigned end = sector + 1;
      while (end < first + count && sources[end] == sources[sector]) ++end;
      give(sources[sector], end);
      sector = end;
    }
  }
};

// The chunks of which any of the layers holds something, in order.
std::vector<std::uint64_t> chunks_held(const std::vector<std::shared_ptr<Layer>>& layers);

// Copies what `layers` (newest first) hold, the newest copy of each sector, into `out`, which
// nobody uses yet. Nobody may be writing to them. The layers stay as they are. Returns the bytes of
// data copied.
std::uint64_t fold(const std::vector<std::shared_ptr<Layer>>& layers, Layer& out,
                   const Progress& progress);

}  // namespace plydisk
