// A writable copy-on-write overlay the size of the disk: a sparse data file, a chunk map, and an
// SQLite sector index, in a folder of its own (`data`, `map`, `index.sqlite`).
//
// Data has identity mapping: sector s is at byte 512·s of the data file. A *pass* layer has no data
// of its own: a sector that it holds means "in the backing, past the layers below".
//
// Order of things, which is what keeps acknowledged sectors (ChunkMap explains the bits):
// - write: the data, then `valid`, then not `zero`; then the chunk is marked dirty if a bit
// changed.
// - zero: `zero` where `valid` is; the hole is punched; `valid` for the rest, and then its `zero`.
// - Every writer holds its chunk's lock: shared if it writes whole sectors, alone if it must read
//   first or punches, so that a late write destroys nothing.
// - flush (durable layers): passes once through all chunk locks, so that writers under way have
//   marked what they did; takes the dirty chunks and their states; syncs the data; commits. The set
//   is taken before the data is synced, or the index could name data that is not there.
// - A small flush of nothing but new sectors puts their data into the commit instead (one sync, not
//   two). These *pending* records are dropped in the first commit after the data file was synced.
//   If any sector that had data was written again or zeroed, the data file must be synced.
// - After a power cut the map is rebuilt from the index, and pending records are copied to the data
//   file. After a crash of the process the map is believed, and the records are not needed; unless
//   it lacks what the index has: then the storage went away and came back with older files.
// - A sync or commit that failed stops the layer: all later calls throw EIO until it is reopened. A
//   durable one is then what its index says, even if the machine ran on: the map knows of sectors
//   that are in the page cache, are called clean there, and never reached the disk.
// - A full file system or quota, or the layer's own limit, is not such a failure: the call throws
//   ENOSPC or EDQUOT, and a later one may succeed.
//
// Thread safety: all functions may be called from any thread, where no other contract is stated.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "base/striped.hpp"
#include "layer/chunk_map.hpp"
#include "layer/dirty_set.hpp"
#include "layer/sector_index.hpp"

namespace plydisk {

enum class LayerKind { data, pass };

struct LayerOptions {
  LayerKind kind = LayerKind::data;
  Durability durability = Durability::process;
  std::string boot_id;      // of this machine's kernel
  std::uint64_t limit = 0;  // bytes that its files may take; 0: no limit
  // Whether a crash of the process may leave a sector half written while its write is under way,
  // since whoever writes does it again: for that, sectors are written faster in memory.
  bool may_tear = false;
  // Pass layers: makes what was written to the backing durable.
  std::function<void()> sync_backing;
};

class Layer {
 public:
  static constexpr const char* data_name = "data";
  static constexpr const char* map_name = "map";

  // Makes the folder and an empty layer in it; durable ones are on disk when this returns.
  static std::shared_ptr<Layer> create(const std::filesystem::path& folder,
                                       const LayerIdentity& identity, const LayerOptions& options);
  // Opens one that was served before. EUCLEAN: damaged or not what the identity says.
  static std::shared_ptr<Layer> open(const std::filesystem::path& folder,
                                     const LayerIdentity& identity, const LayerOptions& options);
  Layer(const std::filesystem::path& folder, const LayerIdentity& identity,
        const LayerOptions& options);

  const LayerIdentity& identity() const noexcept { return identity_; }
  const std::filesystem::path& folder() const noexcept { return folder_; }
  LayerKind kind() const noexcept { return kind_; }
  Durability durability() const noexcept { return durability_; }

  // What the layer holds of a chunk. No lock, no allocation.
  ChunkState find(std::uint64_t chunk) const noexcept {
    const ChunkEntry* const entry = map_->find(chunk);
    return entry == nullptr ? ChunkState{} : entry->load();
  }
  // Calls fn(chunk, state) for each chunk that the layer holds anything of, in order.
  template <typename Fn>
  void for_each(Fn&& fn) const {
    map_->for_each(fn);
  }
  bool empty() const;
  // Holds the sectors that find() said are in the data file, at their place on the disk.
  const MappedFile& data() const noexcept { return *data_; }

  // Fewer than a thread can hold under ThreadSanitizer (64).
  static constexpr std::size_t chunk_lock_count = 32;
  FairSharedMutex& chunk_lock(std::uint64_t chunk) noexcept {
    return chunk_locks_[chunk % chunk_locks_.size()];
  }
  // Writes whole sectors. Takes the locks itself.
  void write(const void* buffer, std::size_t length, std::uint64_t offset);
  // Likewise, of chunks whose locks the caller holds, shared or alone.
  void write_locked(const void* buffer, std::size_t length, std::uint64_t offset);
  // Pass layers: says that these sectors are now in the backing. The caller holds the lock
  // likewise.
  void mark_pass(std::uint64_t chunk, const SectorSet& sectors);
  // Makes whole sectors read as zeros, and deallocates them. Takes the locks itself.
  void zero(std::uint64_t offset, std::uint64_t length);
  // Imports sectors into a layer that nobody reads yet: as write, zero or pass, without locks.
  void import_state(std::uint64_t chunk, const SectorSet& zeros, const SectorSet& pass);

  // Makes all that was completed before the call durable; calls that wait together are served by
  // one. On `process` layers it does nothing.
  void flush();
  // Work that is due now and then: commits the index of `process` layers, copies the WAL. From one
  // thread.
  void maintain();
  // Flushes, and brings the whole truth into the index: what to do before the layer is closed.
  void settle();
  // Whether settle() has succeeded. Only meaningful once nobody writes to the layer any more.
  bool is_settled() const noexcept { return settled_.load(); }
  // settle(), then the layer can no longer be written, and the index is one plain file.
  // The map file is removed. No call but the destructor may follow.
  void freeze();

  // Bytes that the layer's files may take; 0: no limit. What they have already stays.
  void set_limit(std::uint64_t bytes) noexcept {
    limit_.store(bytes);
    room_.store(0);
  }

  // Bytes that the file system has allocated for the layer's files.
  std::uint64_t allocated() const;
  // Sentences about faults; empty: none. Safe while the layer is served.
  std::vector<std::string> check() const;

 private:
  void restore_map();
  bool map_lacks(const std::vector<ChunkChange>& saved) const;
  void find_unsaved_changes();
  void stop() noexcept;
  void require_running() const;
  class ChunkLocks;
  bool rewrite(const void* buffer, std::size_t length, std::uint64_t offset);
  bool has_data(std::uint64_t first_sector, std::uint64_t sectors) const;
  bool mark_data(std::uint64_t chunk, const SectorSet& sectors);
  void require_room(std::uint64_t first_sector, std::uint64_t sectors);
  void ensure_entries(std::uint64_t first_sector, std::uint64_t sectors);
  void zero_slice(std::uint64_t first_sector, std::uint64_t sectors);
  void punch(std::uint64_t first_sector, std::uint64_t sectors);
  void zero_locked(std::uint64_t first_sector, std::uint64_t sectors);
  std::optional<std::vector<PendingRecord>> small_records(const std::vector<ChunkChange>& changes);
  void flush_round(bool drop_pending);
  void save_changes(bool drop_pending);
  void sync_and_commit(const std::vector<ChunkChange>& changes, bool must_sync, bool drop_pending);

  const std::filesystem::path folder_;
  const LayerIdentity identity_;
  const LayerKind kind_;
  const Durability durability_;
  const std::function<void()> sync_backing_;
  std::unique_ptr<MappedFile> data_;
  std::unique_ptr<ChunkMap> map_;
  std::unique_ptr<SectorIndex> index_;
  DirtySet dirty_;
  // Whether a sector that had data was changed in the data file since that was last synced.
  std::atomic<bool> rewritten_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<bool> settled_{false};
  std::atomic<std::uint64_t> limit_;
  // What may still be written, in bytes, before the files' real size is asked for again.
  std::atomic<std::int64_t> room_{0};
  std::chrono::steady_clock::time_point next_index_commit_;  // maintain()'s own

  // Striped: chunk c is protected by lock c % chunk_lock_count.
  std::array<PaddedSharedMutex, chunk_lock_count> chunk_locks_;

  // Group flush: calls that arrive while a round is under way make up the next round together.
  struct Round {
    bool drop_pending = false, done = false;
    std::exception_ptr error;
  };
  void flush_with_others(bool drop_pending);
  std::mutex flush_mutex_;  // protects the two below
  std::condition_variable round_done_;
  std::shared_ptr<Round> next_round_;
  bool round_running_ = false;
};

}  // namespace plydisk
