#include "layer/sector_index.hpp"

#include <array>
#include <cstring>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/units.hpp"
#include "layer/frozen_index.hpp"
#include "layer/index_rows.hpp"

namespace plydisk {

namespace {

constexpr int large_wal_pages = 4096;

void bind_set(Statement& statement, int index, const SectorSet& set, const SectorSet& null) {
  if (set == null)
    statement.bind_null(index);
  else
    statement.bind_blob(index, std::as_bytes(std::span(set.word)));
}

}  // namespace

void SectorIndex::create(const std::filesystem::path& path, const LayerIdentity& identity,
                         Durability durability) {
  auto db = Database::open(path, Database::Mode::create);
  db.exec("PRAGMA page_size=1024; PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;");
  db.exec(durability == Durability::durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
  Transaction transaction(db);
  db.exec(
      "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
      "CREATE TABLE chunk(chunk INTEGER PRIMARY KEY, valid BLOB, zero BLOB);"
      "CREATE TABLE pending(sector INTEGER PRIMARY KEY, data BLOB NOT NULL);");
  auto insert = db.prepare("INSERT INTO meta VALUES(?, ?)");
  const std::pair<const char*, std::string> rows[] = {
      {"format", std::to_string(index_format)},
      {"uuid", identity.uuid},
      {"parent", identity.parent},
      {"disk_size", std::to_string(identity.disk_size)},
  };
  for (const auto& [key, value] : rows)
    insert.bind(1, std::string_view(key)).bind(2, std::string_view(value)).run();
  transaction.commit();
}

SectorIndex::SectorIndex(const std::filesystem::path& path, const LayerIdentity& identity,
                         Durability durability)
    : path_(path),
      db_(Database::open(path, Database::Mode::read_write)),
      disk_size_(identity.disk_size) {
  // Exclusive before the first access: so the WAL needs no shared memory, and nobody else gets in.
  db_.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA wal_autocheckpoint=0;");
  db_.exec(durability == Durability::durable ? "PRAGMA synchronous=FULL"
                                             : "PRAGMA synchronous=OFF");
  db_.check();
  check_identity(db_, path, identity);
  unpack_index(db_);
  sqlite3_wal_hook(
      db_.handle(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SectorIndex*>(self)->wal_pages_.store(pages);
        return SQLITE_OK;
      },
      this);
  {
    auto sum = db_.prepare("SELECT coalesce(sum(length(data)), 0) FROM pending");
    sum.step();
    pending_bytes_.store(static_cast<std::uint64_t>(sum.integer(0)));
  }
  upsert_.emplace(db_, "INSERT OR REPLACE INTO chunk VALUES(?, ?, ?)");
  insert_pending_.emplace(db_, "INSERT OR REPLACE INTO pending VALUES(?, ?)");
  find_.emplace(db_, "SELECT valid, zero FROM chunk WHERE chunk = ?");
}

SectorIndex::~SectorIndex() = default;

void SectorIndex::load(const std::function<void(const ChunkChange&)>& fn) {
  const std::lock_guard lock(mutex_);
  load_rows(db_, disk_size_, fn);
}

std::optional<ChunkState> SectorIndex::find(std::uint64_t chunk) {
  const std::lock_guard lock(mutex_);
  find_->bind(1, static_cast<std::int64_t>(chunk));
  std::optional<ChunkState> state;
  if (find_->step()) state = read_state(*find_, 0);
  find_->reset();
  return state;
}

void SectorIndex::load_pending(
    const std::function<void(std::uint64_t, std::span<const std::byte>)>& fn) {
  const std::lock_guard lock(mutex_);
  auto rows = db_.prepare("SELECT sector, data FROM pending ORDER BY sector");
  while (rows.step()) fn(static_cast<std::uint64_t>(rows.integer(0)), rows.blob(1));
}

void SectorIndex::commit(std::span<const ChunkChange> changes,
                         std::span<const PendingRecord> pending, bool drop_pending) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  if (drop_pending) db_.exec("DELETE FROM pending");
  for (const auto& change : changes) {
    upsert_->bind(1, static_cast<std::int64_t>(change.chunk));
    bind_set(*upsert_, 2, change.state.valid, SectorSet::all());
    bind_set(*upsert_, 3, change.state.zero, SectorSet{});
    upsert_->run();
  }
  std::uint64_t added = 0;
  for (const auto& record : pending) {
    insert_pending_->bind(1, static_cast<std::int64_t>(record.sector)).bind_blob(2, record.data);
    insert_pending_->run();
    added += record.data.size();
  }
  transaction.commit();
  pending_bytes_.store((drop_pending ? 0 : pending_bytes_.load()) + added);
}

void SectorIndex::checkpoint_if_large() {
  if (wal_pages_.load() < large_wal_pages) return;
  const std::lock_guard lock(mutex_);
  const int code =
      sqlite3_wal_checkpoint_v2(db_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK) db_.fail(code, "cannot checkpoint");
  wal_pages_.store(0);
}

std::vector<std::string> SectorIndex::check() {
  const std::lock_guard lock(mutex_);
  return db_.find_faults();
}

void SectorIndex::finish() {
  const std::lock_guard lock(mutex_);
  upsert_.reset();
  insert_pending_.reset();
  find_.reset();
  // Few large pages are read sooner than many small ones, and nothing is written to them any more.
  // A file of its own, which takes the place of this one when it is whole, and so needs no journal.
  const std::filesystem::path finished(path_.string() + ".new");
  std::error_code ignored;
  std::filesystem::remove(finished, ignored);
  db_.exec("PRAGMA journal_mode=DELETE; PRAGMA page_size=16384");
  db_.prepare("VACUUM INTO ?").bind(1, std::string_view(finished.native())).run();
  {
    auto packed = Database::open(finished, Database::Mode::read_write);
    packed.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF");
    pack_index(packed, disk_size_);
  }
  db_.close();
  replace_file_durably(finished, path_);
}

}  // namespace plydisk
