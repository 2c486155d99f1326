#include "stack/stack.hpp"

#include <cstring>

namespace plydisk {

namespace {

// How many pieces before its turn the page of one is looked up. With fewer, the processor has not
// found it by then; it can look for some six at a time.
constexpr std::size_t pieces_ahead = 8;

struct SourcePiece {
  Source source;
  std::uint64_t offset, length;
};

}  // namespace

void Stack::read(void* buffer, std::size_t length, std::uint64_t offset) const {
  // Kept from one request to the next, to spare the allocation.
  thread_local std::vector<SourcePiece> pieces;
  pieces.clear();
  for_each_source(offset, length, [](Source source, std::uint64_t at, std::uint64_t bytes) {
    pieces.push_back({source, at, bytes});
  });
  // The pieces of a fragmented range that are not in memory are all asked for before one is waited
  // for.
  if (pieces.size() > 1) {
    const Backing& backing = version->backing();
    for (const SourcePiece& piece : pieces) {
      if (piece.source.is_backing() ? backing.is_cold()
                                    : !piece.source.is_zeros() && piece.source.file().is_cold())
        prefetch_piece(piece.source, piece.offset, piece.length);
    }
  }
  const auto touch = [](std::size_t number) {
    if (number < pieces.size() && pieces[number].source.is_file())
      pieces[number].source.file().touch(pieces[number].offset);
  };
  for (std::size_t number = 0; number < pieces_ahead; ++number) touch(number);
  for (std::size_t number = 0; number < pieces.size(); ++number) {
    touch(number + pieces_ahead);
    const SourcePiece& piece = pieces[number];
    char* const to = static_cast<char*>(buffer) + (piece.offset - offset);
    if (piece.source.is_zeros())
      std::memset(to, 0, piece.length);
    else if (piece.source.is_backing())
      version->backing().read(to, piece.length, piece.offset);
    else
      piece.source.file().read(to, piece.length, piece.offset);
  }
}

void Stack::prefetch_piece(Source source, std::uint64_t offset, std::uint64_t length) const {
  if (source.is_backing())
    version->backing().prefetch(offset, length);
  else if (!source.is_zeros())
    source.file().prefetch(offset, length);
}

void Stack::prefetch(std::uint64_t offset, std::uint64_t length) const {
  for_each_source(offset, length, [&](Source source, std::uint64_t at, std::uint64_t bytes) {
    prefetch_piece(source, at, bytes);
  });
}

void Stack::for_each_extent(std::uint64_t offset, std::uint64_t length,
                            const Backing::ExtentFn& fn) const {
  for_each_place(offset, length, [&](Source source, std::uint64_t at, std::uint64_t bytes) {
    fn(at, bytes, source.is_zeros());
  });
}

void Stack::for_each_place(std::uint64_t offset, std::uint64_t length, const PlaceFn& fn) const {
  for_each_source(offset, length, [&](Source source, std::uint64_t at, std::uint64_t bytes) {
    if (!source.is_backing()) return fn(source, at, bytes);
    version->backing().for_each_extent(at, bytes,
                                       [&](std::uint64_t from, std::uint64_t count, bool is_zero) {
                                         fn(is_zero ? Source::zeros() : source, from, count);
                                       });
  });
}

bool Stack::is_untouched(std::uint64_t first, std::uint64_t count) const {
  for (const auto& layer : layers)
    for (std::uint64_t chunk = first; chunk < first + count; ++chunk)
      if (const ChunkState state = layer->find(chunk); !(state.valid | state.zero).empty())
        return false;
  return true;
}

std::vector<Stack::SourceFile> Stack::files() const {
  std::vector<SourceFile> files;
  if (const File* const file = version->backing().file())
    files.push_back({Source::backing(), file});
  for (const Source source : version->layer_sources())
    files.push_back({source, &source.file().file()});
  for (const auto& layer : layers)
    if (layer->kind() == LayerKind::data)
      files.push_back({Source::file(layer->data()), &layer->data().file()});
  return files;
}

int number_of(Source source, const std::vector<Stack::SourceFile>& files) {
  for (std::size_t number = 0; number < files.size(); ++number)
    if (files[number].source == source) return static_cast<int>(number);
  return -1;
}

std::vector<std::uint64_t> chunks_held(const std::vector<std::shared_ptr<Layer>>& layers) {
  std::vector<std::uint64_t> chunks;
  for (const auto& layer : layers)
    layer->for_each([&](std::uint64_t chunk, const ChunkState&) { chunks.push_back(chunk); });
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

std::uint64_t fold(const std::vector<std::shared_ptr<Layer>>& layers, Layer& out,
                   const Progress& progress) {
  const std::vector<std::uint64_t> chunks = chunks_held(layers);

  std::uint64_t copied = 0, done = 0;
  std::vector<std::byte> buffer(chunk_size);
  for (const std::uint64_t chunk : chunks) {
    const auto copy = [&](const Layer& layer, unsigned first, unsigned count) {
      const std::uint64_t offset = chunk * chunk_size + first * sector_size;
      layer.data().read(buffer.data(), count * sector_size, offset);
      out.write(buffer.data(), count * sector_size, offset);
      copied += count * sector_size;
    };
    const auto [zeros, pass] = for_each_newest(layers, chunk, SectorSet::all(), copy);
    if (!(zeros | pass).empty()) out.import_state(chunk, zeros, pass);
    if (progress && ++done % 64 == 0) progress(done * chunk_size, chunks.size() * chunk_size);
  }
  return copied;
}

}  // namespace plydisk
