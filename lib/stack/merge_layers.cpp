#include "stack/merge_layers.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/frozen_index.hpp"
#include "layer/layer.hpp"
#include "stack/chunk_hashes.hpp"

namespace plydisk {

namespace {

constexpr std::size_t copy_bytes = 4 << 20;             // at once
constexpr std::uint64_t writeback_bytes = 32ULL << 20;  // between two beginnings of it

using Rows = std::vector<ChunkChange>;

// Copies ranges between files, those that lie one after the other in one go.
class RangeCopier {
 public:
  RangeCopier(const File& to, std::uint64_t total, const Progress& progress)
      : to_(to), total_(total), progress_(progress), buffer_(copy_bytes) {}

  void add(const File& from, std::uint64_t offset, std::uint64_t length) {
    if (&from != from_ || offset != offset_ + length_ || length_ + length > copy_bytes) flush();
    if (length_ == 0) offset_ = offset;
    from_ = &from;
    length_ += length;
  }

  void flush() {
    if (length_ == 0) return;
    from_->read(buffer_.data(), length_, offset_);
    to_.write(buffer_.data(), length_, offset_);
    copied_ += length_;
    length_ = 0;
    // The disk begins while more is copied; a hint, and the sync at the end finds little to do.
    if (copied_ - begun_ >= writeback_bytes) {
      ::sync_file_range(to_.fd(), 0, 0, SYNC_FILE_RANGE_WRITE);
      begun_ = copied_;
    }
    if (progress_) progress_(copied_, total_);
  }

  std::uint64_t copied() const { return copied_; }

 private:
  const File& to_;
  const std::uint64_t total_;
  const Progress& progress_;
  std::vector<std::byte> buffer_;
  const File* from_ = nullptr;
  std::uint64_t offset_ = 0, length_ = 0, copied_ = 0, begun_ = 0;
};

// What is to be copied from an older layer.
struct CopiedPiece {
  std::uint64_t chunk;
  std::uint32_t layer;
  SectorSet sectors;
};

struct Plan {
  Rows rows;                        // of the merged index
  std::vector<CopiedPiece> pieces;  // chunks in rising order
  std::uint64_t bytes = 0;          // of all pieces
};

// `index`: of each layer, oldest first.
Plan plan_merge(const std::vector<Rows>& index) {
  Plan plan;
  std::vector<std::size_t> at(index.size(), 0);
  for (;;) {
    std::optional<std::uint64_t> chunk;
    for (std::size_t i = 0; i < index.size(); ++i)
      if (at[i] < index[i].size())
        chunk = std::min(chunk.value_or(UINT64_MAX), index[i][at[i]].chunk);
    if (!chunk) return plan;
    ChunkState merged;
    for (std::size_t i = index.size(); i-- > 0;) {
      if (at[i] == index[i].size() || index[i][at[i]].chunk != *chunk) continue;
      const ChunkState& state = index[i][at[i]++].state;
      const SectorSet missing = ~(merged.valid | merged.zero);
      merged.valid |= state.valid & missing;
      merged.zero |= state.zero & missing;
      const SectorSet data = state.data() & missing;
      if (i + 1 == index.size() || data.empty()) continue;
      plan.pieces.push_back({*chunk, static_cast<std::uint32_t>(i), data});
      plan.bytes += data.count() * sector_size;
    }
    plan.rows.push_back({*chunk, merged});
  }
}

// Gives the merged layer a data file that has what the newest layer's has.
File take_data(const Version::FrozenLayer& newest, const Rows& rows,
               const std::filesystem::path& to, std::uint64_t disk_size) {
  const auto from = newest.folder / Layer::data_name;
  try {
    link_file(from, to);
    return File::open(to, O_RDWR);
  } catch (const Error& error) {
    // File systems without links: FAT, some network file systems.
    if (error.code() != EPERM && error.code() != ENOTSUP && error.code() != EMLINK) throw;
  }
  File file = File::open(to, O_RDWR | O_CREAT | O_EXCL);
  file.truncate(disk_size);
  const File source = File::open(from, O_RDONLY);
  const Progress untold;
  RangeCopier copier(file, 0, untold);
  for (const ChunkChange& row : rows)
    row.state.data().for_each_run([&](unsigned first, unsigned count) {
      copier.add(source, row.chunk * chunk_size + first * sector_size, count * sector_size);
    });
  copier.flush();
  return file;
}

// A chunk's hash in the newest layer that holds any of it is that of the merged layer. Nothing if
// one of the layers has none.
void merge_hashes(const std::vector<Version::FrozenLayer>& layers,
                  const Version::FrozenLayer& out) {
  std::vector<std::pair<std::uint64_t, ChunkHash>> merged;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const auto hashes =
        ChunkHashes::open(layer->folder, layer->identity.uuid, layer->identity.disk_size);
    if (!hashes) return;
    const auto newer = static_cast<std::ptrdiff_t>(merged.size());
    std::ptrdiff_t at = 0;
    hashes->for_each([&](std::uint64_t chunk, const ChunkHash& hash) {
      while (at < newer && merged[static_cast<std::size_t>(at)].first < chunk) ++at;
      if (at == newer || merged[static_cast<std::size_t>(at)].first != chunk)
        merged.emplace_back(chunk, hash);
    });
    std::inplace_merge(merged.begin(), merged.begin() + newer, merged.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  ChunkHashWriter writer(out.folder, out.identity.uuid, out.identity.disk_size);
  for (const auto& [chunk, hash] : merged) writer.add(chunk, hash);
  writer.finish();
}

// Frees, or only counts, whole blocks that the file has between the ranges that are used.
class UnusedBlocks {
 public:
  UnusedBlocks(const File& file, std::uint64_t block_size, bool dry_run)
      : file_(file), block_size_(block_size), dry_run_(dry_run) {}

  // In rising order.
  void skip(std::uint64_t begin, std::uint64_t end) {
    free(begin / block_size_ * block_size_);
    next_ = std::max(next_, rounded_up(end));
  }
  void free_rest() { free(rounded_up(file_.size())); }
  std::uint64_t found() const { return found_; }

 private:
  std::uint64_t rounded_up(std::uint64_t offset) const {
    return (offset + block_size_ - 1) / block_size_ * block_size_;
  }
  void free(std::uint64_t end) {
    while (next_ < end) {
      const ::off_t data = ::lseek(file_.fd(), static_cast<::off_t>(next_), SEEK_DATA);
      if (data < 0 && errno != ENXIO) throw_errno("cannot find the data of " + file_.path());
      if (data < 0 || static_cast<std::uint64_t>(data) >= end) return;
      const ::off_t hole = ::lseek(file_.fd(), data, SEEK_HOLE);
      if (hole < 0) throw_errno("cannot find the data of " + file_.path());
      // The file may end in the middle of a block.
      next_ = std::min(rounded_up(static_cast<std::uint64_t>(hole)), end);
      const auto begin = static_cast<std::uint64_t>(data);
      if (!dry_run_) file_.punch(begin, next_ - begin);
      found_ += next_ - begin;
    }
  }

  const File& file_;
  const std::uint64_t block_size_;
  const bool dry_run_;
  std::uint64_t next_ = 0, found_ = 0;
};

// Tried behind the end, where it has no effect. Else File::punch() would write zeros.
bool can_deallocate(const File& file) {
  return ::fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<::off_t>(file.size()), 4096) == 0;
}

struct stat stat_of(const File& file) {
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) throw_errno("cannot stat " + file.path());
  return info;
}

}  // namespace

std::uint64_t free_unused(const Version::FrozenLayer& layer, bool dry_run) {
  const File data = File::open(layer.folder / Layer::data_name, O_RDWR);
  const struct stat before = stat_of(data);
  if (before.st_nlink > 1 || before.st_blocks == 0 || !can_deallocate(data)) return 0;
  UnusedBlocks unused(data, static_cast<std::uint64_t>(before.st_blksize), dry_run);
  load_frozen_index(layer.folder / SectorIndex::file_name, layer.identity,
                    [&](const ChunkChange& row) {
                      row.state.data().for_each_run([&](unsigned first, unsigned count) {
                        const std::uint64_t begin = row.chunk * chunk_size + first * sector_size;
                        unused.skip(begin, begin + count * sector_size);
                      });
                    });
  unused.free_rest();
  if (dry_run || unused.found() == 0) return unused.found();
  const auto after = stat_of(data).st_blocks;
  return after < before.st_blocks ? static_cast<std::uint64_t>(before.st_blocks - after) * 512 : 0;
}

std::uint64_t merge_layers(const std::vector<Version::FrozenLayer>& layers,
                           const Version::FrozenLayer& out, const Progress& progress) {
  std::vector<Rows> index(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i)
    load_frozen_index(layers[i].folder / SectorIndex::file_name, layers[i].identity,
                      [&](const ChunkChange& row) { index[i].push_back(row); });
  const Plan plan = plan_merge(index);

  create_directory_durably(out.folder);
  const File data =
      take_data(layers.back(), index.back(), out.folder / Layer::data_name, out.identity.disk_size);
  std::vector<File> sources;
  for (const auto& layer : layers)
    sources.push_back(File::open(layer.folder / Layer::data_name, O_RDONLY));
  RangeCopier copier(data, plan.bytes, progress);
  for (const CopiedPiece& piece : plan.pieces)
    piece.sectors.for_each_run([&](unsigned first, unsigned count) {
      copier.add(sources[piece.layer], piece.chunk * chunk_size + first * sector_size,
                 count * sector_size);
    });
  copier.flush();
  data.sync_data();

  SectorIndex::create(out.folder / SectorIndex::file_name, out.identity, Durability::durable);
  SectorIndex merged(out.folder / SectorIndex::file_name, out.identity, Durability::durable);
  merged.commit(plan.rows, {}, false);
  merged.finish();
  merge_hashes(layers, out);
  sync_directory(out.folder);
  return copier.copied();
}

}  // namespace plydisk
