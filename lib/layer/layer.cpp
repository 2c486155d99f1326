#include "layer/layer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <shared_mutex>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk {

namespace {

// The longest range that is zeroed under its locks at once.
constexpr std::uint64_t zero_slice_sectors = 1024 * chunk_sectors;

void make_folder(const std::filesystem::path& folder, Durability durability) {
  if (durability == Durability::durable) return create_directory_durably(folder);
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (error) throw_errno(error.value(), "cannot create " + folder.string());
}

// How much new data is written at once, aligned: the page cache makes one folio of what is written
// at once, and writing 4 KiB into a large folio later takes longer than into a small one.
constexpr std::uint64_t write_slice = 2 * chunk_size;  // bytes

// Calls fn(chunk, sectors in it) for each chunk of a range of sectors, in order.
template <typename Fn>
void for_each_chunk(std::uint64_t first_sector, std::uint64_t sectors, Fn&& fn) {
  for (std::uint64_t sector = first_sector, end = first_sector + sectors; sector < end;) {
    const std::uint64_t chunk = sector / chunk_sectors;
    const std::uint64_t stop = std::min(end, (chunk + 1) * chunk_sectors);
    fn(chunk, SectorSet::range(static_cast<unsigned>(sector % chunk_sectors),
                               static_cast<unsigned>(stop - sector)));
    sector = stop;
  }
}

}  // namespace

// The chunk locks of a range of sectors. They are taken in rising order: so two ranges never wait
// for each other.
class Layer::ChunkLocks {
 public:
  ChunkLocks(Layer& layer, std::uint64_t first_sector, std::uint64_t sectors)
      : locks_(layer.chunk_locks_) {
    const std::uint64_t first = first_sector / chunk_sectors;
    const std::uint64_t last = (first_sector + sectors - 1) / chunk_sectors;
    for (std::uint64_t chunk = first; chunk <= last && chunk < first + chunk_lock_count; ++chunk)
      stripes_ |= 1ULL << (chunk % chunk_lock_count);
  }
  void lock() {
    for_each([](FairSharedMutex& mutex) { mutex.lock(); });
  }
  void unlock() {
    for_each([](FairSharedMutex& mutex) { mutex.unlock(); });
  }
  void lock_shared() {
    for_each([](FairSharedMutex& mutex) { mutex.lock_shared(); });
  }
  void unlock_shared() {
    for_each([](FairSharedMutex& mutex) { mutex.unlock_shared(); });
  }

 private:
  template <typename Fn>
  void for_each(Fn&& fn) {
    for (std::uint64_t bits = stripes_; bits != 0; bits &= bits - 1)
      fn(locks_[static_cast<unsigned>(std::countr_zero(bits))]);
  }

  std::array<PaddedSharedMutex, chunk_lock_count>& locks_;
  std::uint64_t stripes_ = 0;  // one bit a lock
};

std::shared_ptr<Layer> Layer::create(const std::filesystem::path& folder,
                                     const LayerIdentity& identity, const LayerOptions& options) {
  make_folder(folder, options.durability);
  try {
    const File data = File::open(folder / data_name, O_RDWR | O_CREAT | O_EXCL);
    data.truncate(identity.disk_size);
    if (options.durability == Durability::durable) data.sync_data();
    SectorIndex::create(folder / SectorIndex::file_name, identity, options.durability);
    // Last of all, so that an unfinished folder is never taken for a layer.
    ChunkMap map(folder / map_name, identity.uuid, identity.disk_size, options.boot_id);
    map.reset();
    map.seal();
    if (options.durability == Durability::durable) sync_directory(folder);
    return std::make_shared<Layer>(folder, identity, options);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    throw;
  }
}

std::shared_ptr<Layer> Layer::open(const std::filesystem::path& folder,
                                   const LayerIdentity& identity, const LayerOptions& options) {
  return std::make_shared<Layer>(folder, identity, options);
}

Layer::Layer(const std::filesystem::path& folder, const LayerIdentity& identity,
             const LayerOptions& options)
    : folder_(folder),
      identity_(identity),
      kind_(options.kind),
      durability_(options.durability),
      sync_backing_(options.sync_backing),
      dirty_(chunk_count(identity.disk_size)),
      limit_(options.limit) {
  map_ = std::make_unique<ChunkMap>(folder / map_name, identity.uuid, identity.disk_size,
                                    options.boot_id);
  if (!map_->believed() && durability_ == Durability::durable) {
    // Before a sync that failed is forgotten: what it left in the WAL may look committed.
    forget_cached(folder / data_name);
    forget_cached(folder / (std::string(SectorIndex::file_name) + "-wal"));
  }
  File data = File::open(folder / data_name, O_RDWR);
  if (data.size() < identity.disk_size)
    throw Error(EUCLEAN, data.path() + " was truncated: it has " + std::to_string(data.size()) +
                             " bytes instead of " + std::to_string(identity.disk_size) +
                             "; restore it from a backup or discard the layer");
  data_ = std::make_unique<MappedFile>(std::move(data), identity.disk_size, options.may_tear);
  index_ = std::make_unique<SectorIndex>(folder / SectorIndex::file_name, identity, durability_);
  if (map_->believed())
    find_unsaved_changes();
  else
    restore_map();
}

// As after a reboot: the index is the truth, and the data of pending records may be missing.
void Layer::restore_map() {
  if (durability_ == Durability::process)
    throw Error(ESTALE, folder_.string() + " is a volatile layer from before a reboot");
  map_->reset();
  index_->load([this](const ChunkChange& row) {
    ChunkEntry& entry = map_->ensure(row.chunk);
    for (unsigned w = 0; w < 2; ++w) {
      entry.valid[w] = row.state.valid.word[w];
      entry.zero[w] = row.state.zero.word[w];
    }
  });
  if (index_->pending_bytes() > 0) {
    index_->load_pending([this](std::uint64_t sector, std::span<const std::byte> bytes) {
      data_->file().write(bytes.data(), bytes.size(), sector * sector_size);
    });
    data_->file().sync_data();
    index_->commit({}, {}, true);
  }
  map_->seal();
}

// Whether the map is older than the index. Sectors that a layer holds it holds for good, except
// that a layer with data of its own may write over what was in the backing.
bool Layer::map_lacks(const std::vector<ChunkChange>& saved) const {
  return std::any_of(saved.begin(), saved.end(), [this](const ChunkChange& row) {
    const ChunkState now = find(row.chunk);
    return !(row.state.valid & ~now.valid).empty() ||
           !(row.state.pass() & ~(now.valid | now.zero)).empty();
  });
}

// After a crash of the process the map knows more than the index. What it knows more is dirty.
void Layer::find_unsaved_changes() {
  std::vector<ChunkChange> saved;
  index_->load([&](const ChunkChange& row) { saved.push_back(row); });
  if (map_lacks(saved)) {
    if (durability_ == Durability::durable) return restore_map();
    throw Error(EUCLEAN, (folder_ / map_name).string() +
                             " is older than the layer's index, so writes are missing: its storage "
                             "was away for a time; discard the layer");
  }
  auto row = saved.cbegin();
  map_->for_each([&](std::uint64_t chunk, const ChunkState& state) {
    while (row != saved.cend() && row->chunk < chunk) ++row;
    if (row == saved.cend() || row->chunk != chunk || row->state != state) dirty_.mark(chunk);
    rewritten_.store(true);
  });
}

bool Layer::empty() const { return map_->empty(); }

void Layer::require_running() const {
  if (stopped_.load(std::memory_order_relaxed))
    throw Error(EIO, folder_.string() + " was stopped after a sync failed; restart the server");
}

void Layer::write(const void* buffer, std::size_t length, std::uint64_t offset) {
  if ((length > write_slice || data_->is_mapped_for_writing()) && rewrite(buffer, length, offset))
    return;
  const auto* bytes = static_cast<const std::byte*>(buffer);
  while (length > 0) {
    const auto slice = static_cast<std::size_t>(
        std::min<std::uint64_t>(length, write_slice - offset % write_slice));
    ChunkLocks locks(*this, offset / sector_size, slice / sector_size);
    const std::shared_lock lock(locks);
    write_locked(bytes, slice, offset);
    bytes += slice;
    offset += slice;
    length -= slice;
  }
}

// Throws ENOSPC if the layer may not grow by this much. Sectors that it has cost nothing.
void Layer::require_room(std::uint64_t first_sector, std::uint64_t sectors) {
  const std::uint64_t limit = limit_.load(std::memory_order_relaxed);
  if (limit == 0 || has_data(first_sector, sectors)) return;
  constexpr std::uint64_t page = 4096;
  const std::uint64_t begin = first_sector * sector_size / page * page;
  const std::uint64_t end = (first_sector + sectors) * sector_size + page - 1;
  // The index takes some room, too.
  const auto needed = static_cast<std::int64_t>(end / page * page - begin + page);
  if (room_.fetch_sub(needed, std::memory_order_relaxed) >= needed) return;
  const auto room = static_cast<std::int64_t>(limit) - static_cast<std::int64_t>(allocated());
  room_.store(std::max<std::int64_t>(0, room - needed), std::memory_order_relaxed);
  if (room < needed)
    throw Error(ENOSPC,
                folder_.string() + " has reached its limit of " + std::to_string(limit) + " bytes");
}

void Layer::write_locked(const void* buffer, std::size_t length, std::uint64_t offset) {
  require_running();
  const std::uint64_t first_sector = offset / sector_size, sectors = length / sector_size;
  require_room(first_sector, sectors);
  ensure_entries(first_sector, sectors);
  data_->file().write(buffer, length, offset);
  bool rewrote = false;
  for_each_chunk(first_sector, sectors, [&](std::uint64_t chunk, const SectorSet& set) {
    rewrote |= mark_data(chunk, set);
  });
  if (rewrote && !rewritten_.load()) rewritten_.store(true);
}

// Marks sectors as written to the data file. Returns whether some of them had data before.
bool Layer::mark_data(std::uint64_t chunk, const SectorSet& sectors) {
  ChunkEntry& entry = map_->ensure(chunk);
  bool changed = false;
  bool rewrote = false;
  for (unsigned w = 0; w < 2; ++w) {
    const std::uint64_t mask = sectors.word[w];
    if (mask == 0) continue;
    const std::uint64_t zero = entry.zero[w].load(std::memory_order_acquire);
    const std::uint64_t valid = entry.valid[w].load(std::memory_order_acquire);
    rewrote |= (valid & ~zero & mask) != 0;
    if ((~valid & mask) != 0) entry.valid[w].fetch_or(mask, std::memory_order_release);
    if ((zero & mask) != 0) entry.zero[w].fetch_and(~mask, std::memory_order_release);
    changed |= ((~valid | zero) & mask) != 0;
  }
  if (changed) dirty_.mark(chunk);
  return rewrote;
}

// Writes over sectors that are all in the data file already, in one piece; false, with nothing
// done, if they are not.
bool Layer::rewrite(const void* buffer, std::size_t length, std::uint64_t offset) {
  require_running();
  const std::uint64_t first = offset / sector_size, sectors = length / sector_size;
  if (!has_data(first, sectors)) return false;
  ChunkLocks locks(*this, first, sectors);
  const std::shared_lock lock(locks);
  // Once more: it may have been zeroed before the locks were held.
  if (!has_data(first, sectors)) return false;
  data_->write(buffer, length, offset);
  if (!rewritten_.load()) rewritten_.store(true);
  return true;
}

bool Layer::has_data(std::uint64_t first_sector, std::uint64_t sectors) const {
  bool all = true;
  for_each_chunk(first_sector, sectors, [&](std::uint64_t chunk, const SectorSet& wanted) {
    all = all && (find(chunk).data() & wanted) == wanted;
  });
  return all;
}

void Layer::mark_pass(std::uint64_t chunk, const SectorSet& sectors) {
  require_running();
  ChunkEntry& entry = map_->ensure(chunk);
  bool changed = false;
  for (unsigned w = 0; w < 2; ++w) {
    const std::uint64_t before = entry.zero[w].fetch_or(sectors.word[w], std::memory_order_release);
    changed |= (~before & sectors.word[w]) != 0;
  }
  rewritten_.store(true);
  if (changed) dirty_.mark(chunk);
}

void Layer::zero(std::uint64_t offset, std::uint64_t length) {
  require_running();
  std::uint64_t sector = offset / sector_size;
  const std::uint64_t end = sector + length / sector_size;
  while (sector < end) {
    const std::uint64_t slice_end =
        std::min(end, (sector / zero_slice_sectors + 1) * zero_slice_sectors);
    zero_slice(sector, slice_end - sector);
    sector = slice_end;
  }
}

void Layer::zero_slice(std::uint64_t first_sector, std::uint64_t sectors) {
  ensure_entries(first_sector, sectors);
  ChunkLocks locks(*this, first_sector, sectors);
  const std::lock_guard lock(locks);
  zero_locked(first_sector, sectors);
}

// So that no bit fails to be set once the data file was changed.
void Layer::ensure_entries(std::uint64_t first_sector, std::uint64_t sectors) {
  for_each_chunk(first_sector, sectors,
                 [this](std::uint64_t chunk, const SectorSet&) { map_->ensure(chunk); });
}

void Layer::zero_locked(std::uint64_t first_sector, std::uint64_t sectors) {
  for_each_chunk(first_sector, sectors, [&](std::uint64_t chunk, const SectorSet& set) {
    ChunkEntry& entry = map_->ensure(chunk);
    const ChunkState before = entry.load();
    if ((before.zeros() & set) == set) return;
    if (!(before.data() & set).empty()) rewritten_.store(true);
    for (unsigned w = 0; w < 2; ++w)
      entry.zero[w].fetch_or(before.valid.word[w] & set.word[w], std::memory_order_release);
    dirty_.mark(chunk);
  });
  punch(first_sector, sectors);
  for_each_chunk(first_sector, sectors, [&](std::uint64_t chunk, const SectorSet& set) {
    ChunkEntry& entry = map_->ensure(chunk);
    for (unsigned w = 0; w < 2; ++w) {
      entry.valid[w].fetch_or(set.word[w], std::memory_order_release);
      entry.zero[w].fetch_or(set.word[w], std::memory_order_release);
    }
    // Again: a flush may have taken the first mark, with the state as it was before these bits.
    dirty_.mark(chunk);
  });
}

// A file gives back whole pages alone: so with sectors that were a page's last data goes the page.
// Called with the chunks' locks, which nobody else who writes to these pages can have.
void Layer::punch(std::uint64_t first_sector, std::uint64_t sectors) {
  constexpr std::uint64_t page_sectors = 4096 / sector_size;
  const auto has_none = [this](std::uint64_t from, std::uint64_t to) {
    bool none = true;
    for_each_chunk(from, to - from, [&](std::uint64_t chunk, const SectorSet& set) {
      none = none && (find(chunk).data() & set).empty();
    });
    return none;
  };
  std::uint64_t begin = first_sector, end = first_sector + sectors;
  const std::uint64_t page = begin / page_sectors * page_sectors;
  const std::uint64_t page_end = std::min((end + page_sectors - 1) / page_sectors * page_sectors,
                                          identity_.disk_size / sector_size);
  if (page < begin && has_none(page, begin)) begin = page;
  if (end < page_end && has_none(end, page_end)) end = page_end;
  data_->file().punch(begin * sector_size, (end - begin) * sector_size);
}

void Layer::import_state(std::uint64_t chunk, const SectorSet& zeros, const SectorSet& pass) {
  ChunkEntry& entry = map_->ensure(chunk);
  for (unsigned w = 0; w < 2; ++w) {
    entry.valid[w].fetch_or(zeros.word[w], std::memory_order_release);
    entry.zero[w].fetch_or(zeros.word[w] | pass.word[w], std::memory_order_release);
  }
  dirty_.mark(chunk);
}

std::uint64_t Layer::allocated() const { return allocated_in(folder_); }

std::vector<std::string> Layer::check() const {
  std::vector<std::string> faults = index_->check();
  if (data_->file().size() < identity_.disk_size) faults.push_back("the data file was truncated");
  const std::uint64_t sectors = identity_.disk_size / sector_size;
  const std::uint64_t last_chunk = sectors / chunk_sectors;
  const ChunkState end = sectors % chunk_sectors == 0 ? ChunkState{} : find(last_chunk);
  const auto in_disk = SectorSet::range(0, static_cast<unsigned>(sectors % chunk_sectors));
  if (!((end.valid | end.zero) & ~in_disk).empty())
    faults.push_back("the sector index names sectors past the end of the disk");
  return faults;
}

}  // namespace plydisk
