#include "layer/sector_index.hpp"

#include <array>
#include <cstring>

#include "base/error.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

constexpr int index_format = 1;
constexpr int large_wal_pages = 4096;

static_assert(std::endian::native == std::endian::little, "sets are stored as they are in memory");

SectorSet set_from(const Statement& row, int column, const SectorSet& if_null) {
  if (row.is_null(column)) return if_null;
  SectorSet set;
  const auto blob = row.blob(column);
  if (blob.size() != sizeof set.word) throw Error(EUCLEAN, "a sector set has a wrong length");
  std::memcpy(set.word.data(), blob.data(), sizeof set.word);
  return set;
}

ChunkState state_from(const Statement& row, int column) {
  return {set_from(row, column, SectorSet::all()), set_from(row, column + 1, SectorSet{})};
}

void bind_set(Statement& statement, int index, const SectorSet& set, const SectorSet& null) {
  if (set == null)
    statement.bind_null(index);
  else
    statement.bind_blob(index, std::as_bytes(std::span(set.word)));
}

// `path`: for messages.
void check_identity(Database& db, const std::filesystem::path& path,
                    const LayerIdentity& identity) {
  const auto value = [&](std::string_view key) {
    auto query = db.prepare("SELECT value FROM meta WHERE key = ?");
    query.bind(1, key);
    return query.step() ? query.text(0) : std::string();
  };
  const auto require = [&](std::string_view key, const std::string& expected) {
    const std::string found = value(key);
    if (found != expected)
      throw Error(EUCLEAN, path.string() + " is not what the catalogue says: its " +
                               std::string(key) + " is \"" + found + "\" instead of \"" + expected +
                               "\"; restore the layer's folder from a backup");
  };
  if (value("format") != std::to_string(index_format))
    throw Error(EPROTONOSUPPORT, path.string() + " has format " + value("format") +
                                     ", this program reads " + std::to_string(index_format));
  require("uuid", identity.uuid);
  require("parent", identity.parent);
  require("disk_size", std::to_string(identity.disk_size));
}

void load_rows(Database& db, std::uint64_t disk_size,
               const std::function<void(const ChunkChange&)>& fn) {
  auto rows = db.prepare("SELECT chunk, valid, zero FROM chunk ORDER BY chunk");
  const std::uint64_t chunks = chunk_count(disk_size);
  while (rows.step()) {
    const auto chunk = static_cast<std::uint64_t>(rows.integer(0));
    if (chunk >= chunks) throw Error(EUCLEAN, "a sector index names a chunk past its disk's end");
    fn({chunk, state_from(rows, 1)});
  }
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
    : db_(Database::open(path, Database::Mode::read_write)) {
  // Exclusive before the first access: so the WAL needs no shared memory, and nobody else gets in.
  db_.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA wal_autocheckpoint=0;");
  db_.exec(durability == Durability::durable ? "PRAGMA synchronous=FULL"
                                             : "PRAGMA synchronous=OFF");
  db_.check();
  check_identity(db_, path, identity);
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
  auto size = db_.prepare("SELECT value FROM meta WHERE key = 'disk_size'");
  size.step();
  load_rows(db_, std::stoull(size.text(0)), fn);
}

std::optional<ChunkState> SectorIndex::find(std::uint64_t chunk) {
  const std::lock_guard lock(mutex_);
  find_->bind(1, static_cast<std::int64_t>(chunk));
  std::optional<ChunkState> state;
  if (find_->step()) state = state_from(*find_, 0);
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
  std::vector<std::string> faults;
  auto rows = db_.prepare("PRAGMA integrity_check(20)");
  while (rows.step())
    if (const std::string fault = rows.text(0); fault != "ok")
      faults.push_back("the sector index is damaged: " + fault);
  return faults;
}

void SectorIndex::finish() {
  const std::lock_guard lock(mutex_);
  upsert_.reset();
  insert_pending_.reset();
  find_.reset();
  db_.exec("PRAGMA journal_mode=DELETE");
  db_.close();
}

void load_frozen_index(const std::filesystem::path& path, const LayerIdentity& identity,
                       const std::function<void(const ChunkChange&)>& fn) {
  auto db = Database::open(path, Database::Mode::read_only);
  db.check();
  check_identity(db, path, identity);
  load_rows(db, identity.disk_size, fn);
}

}  // namespace plydisk
