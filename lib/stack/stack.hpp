// What a session reads through: its layers, newest first, then the image version. Reading and
// folding are here; who may change the stack, and when, is Disk's matter.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
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

  // Whether chunks first … first+count-1 are as the version has them: no layer holds a sector.
  bool is_untouched(std::uint64_t first, std::uint64_t count) const;

  // The files that its bytes may be in, each byte at its place on the disk. They stay open as long
  // as the stack is kept.
  struct SourceFile {
    Source source;
    const File* file;
  };
  std::vector<SourceFile> files() const;
  // Likewise calls fn(source, offset, length); holes of the backing are zeros.
  using PlaceFn = std::function<void(Source, std::uint64_t, std::uint64_t)>;
  void for_each_place(std::uint64_t offset, std::uint64_t length, const PlaceFn& fn) const;

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
    const auto put = [&](unsigned at, unsigned n, Source source) {
      fn(source, std::min<std::uint64_t>(to, (at + n) * sector_size));
    };
    resolve_sectors(0, chunk, first, count, put);
  }

  // Calls put(first, count, source) for the runs of the chunk's sectors first … first+count-1, as
  // layer `number` and what is below it have them.
  template <typename Fn>
  void resolve_sectors(std::size_t number, std::uint64_t chunk, unsigned first, unsigned count,
                       const Fn& put) const {
    if (number == layers.size()) return version->for_each_run(chunk, first, count, put);
    const ChunkState state = layers[number]->find(chunk);
    const SectorSet held = state.valid | state.zero;
    const unsigned end = first + count;
    for (unsigned at = first, next = 0; at < end; at = next) {
      if (!held.test(at)) {
        next = std::min(end, held.next(at));
        resolve_sectors(number + 1, chunk, at, next - at, put);
      } else if (!state.zero.test(at)) {
        next = std::min(end, state.data().next_clear(at));
        put(at, next - at, Source::file(layers[number]->data()));
      } else {
        const bool is_pass = !state.valid.test(at);
        next = std::min(end, (is_pass ? state.pass() : state.zeros()).next_clear(at));
        put(at, next - at, is_pass ? Source::backing() : Source::zeros());
      }
    }
  }
};

// Which of a stack's files it is; -1: none.
int number_of(Source source, const std::vector<Stack::SourceFile>& files);

// Sectors of a chunk that layers hold otherwise than as data.
struct DatalessSectors {
  SectorSet zeros, pass;
};

// Calls fn(layer, first, count) for the runs of the chunk's `wanted` sectors of which a layer's
// data is the newest copy. `layers`: newest first.
template <typename Fn>
DatalessSectors for_each_newest(const std::vector<std::shared_ptr<Layer>>& layers,
                                std::uint64_t chunk, SectorSet wanted, Fn&& fn) {
  DatalessSectors dataless;
  for (const auto& layer : layers) {
    const ChunkState state = layer->find(chunk);
    (state.data() & wanted).for_each_run([&](unsigned first, unsigned count) {
      fn(*layer, first, count);
    });
    dataless.zeros |= state.zeros() & wanted;
    dataless.pass |= state.pass() & wanted;
    wanted &= ~(state.valid | state.zero);
  }
  return dataless;
}

// The chunks of which any of the layers holds something, in order.
std::vector<std::uint64_t> chunks_held(const std::vector<std::shared_ptr<Layer>>& layers);

// Copies what `layers` (newest first) hold, the newest copy of each sector, into `out`, which
// nobody uses yet. Nobody may be writing to them. The layers stay as they are. Returns the bytes of
// data copied.
std::uint64_t fold(const std::vector<std::shared_ptr<Layer>>& layers, Layer& out,
                   const Progress& progress);

}  // namespace plydisk
