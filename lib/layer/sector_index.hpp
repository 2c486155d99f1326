// The durable truth about which sectors a layer holds: an SQLite file.
//
//   meta(key, value)            format, uuid, parent, disk_size
//   chunk(chunk, valid, zero)   16-byte little-endian sets of sectors; valid NULL: all, zero NULL:
//                               none; the meaning of the two bits is ChunkMap's
//   pending(sector, data)       data of consecutive sectors that was flushed with the index commit,
//                               and may be missing in the data file until that is synced
//
// One connection, this one, holds the file for itself while the layer is served: Debian's SQLite
// may corrupt a WAL that two connections write and checkpoint.
//
// Thread safety: all functions from any thread; a mutex serializes them.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sqlite.hpp"
#include "layer/chunk_map.hpp"

namespace plydisk {

struct LayerIdentity {
  std::string uuid;
  std::string parent;  // uuid of the layer below; empty: an image version
  std::uint64_t disk_size = 0;
};

enum class Durability {
  process,  // survives a crash of the process, not of the machine: nothing is synced
  durable,  // what was flushed survives a power cut
};

struct ChunkChange {
  std::uint64_t chunk;
  ChunkState state;
  bool operator==(const ChunkChange&) const = default;
};

struct PendingRecord {
  std::uint64_t sector;  // first one, of the disk
  std::vector<std::byte> data;
};

class SectorIndex {
 public:
  static constexpr const char* file_name = "index.sqlite";

  static void create(const std::filesystem::path& path, const LayerIdentity& identity,
                     Durability durability);
  // Checks the database and that it is this layer's. EUCLEAN: damaged, or another layer's.
  SectorIndex(const std::filesystem::path& path, const LayerIdentity& identity,
              Durability durability);
  ~SectorIndex();

  void load(const std::function<void(const ChunkChange&)>& fn);
  std::optional<ChunkState> find(std::uint64_t chunk);
  void load_pending(
      const std::function<void(std::uint64_t sector, std::span<const std::byte>)>& fn);
  // Bytes of data in pending records.
  std::uint64_t pending_bytes() const noexcept { return pending_bytes_.load(); }

  // One transaction: the states of the chunks, new pending records, and, if `drop_pending`, the end
  // of all that there were before.
  void commit(std::span<const ChunkChange> changes, std::span<const PendingRecord> pending,
              bool drop_pending);
  // Copies the WAL into the database if it has grown. Not on the path of a flush.
  void checkpoint_if_large();
  // SQLite's integrity check: sentences about faults.
  std::vector<std::string> check();
  // Ends WAL mode and closes: the file is one file again, readable from read-only media, and has
  // the packed form that the frozen index is read from (frozen_index.hpp).
  void finish();

 private:
  const std::filesystem::path path_;
  Database db_;
  const std::uint64_t disk_size_;  // bytes
  std::mutex mutex_;               // protects db_ and its statements
  std::optional<Statement> upsert_, insert_pending_, find_;
  std::atomic<int> wal_pages_{0};
  std::atomic<std::uint64_t> pending_bytes_{0};
};

}  // namespace plydisk
