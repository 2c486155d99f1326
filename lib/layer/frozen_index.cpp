#include "layer/frozen_index.hpp"

#include <cstring>

#include "base/error.hpp"
#include "layer/index_rows.hpp"

namespace plydisk {

namespace {

constexpr std::size_t packed_bytes = 64 << 10;  // of a run, about
constexpr unsigned has_valid = 1, has_zero = 2;

class Packer {
 public:
  explicit Packer(Database& db) : insert_(db, "INSERT INTO packed VALUES(?, ?)") {}

  void add(const ChunkChange& row) {
    if (bytes_.empty()) first_ = previous_ = row.chunk;
    const bool valid = row.state.valid != SectorSet::all(), zero = !row.state.zero.empty();
    bytes_.push_back(std::byte((valid ? has_valid : 0) | (zero ? has_zero : 0)));
    std::uint64_t delta = row.chunk - previous_;
    for (; delta >= 0x80; delta >>= 7) bytes_.push_back(std::byte(delta & 0x7f) | std::byte{0x80});
    bytes_.push_back(std::byte(delta));
    if (valid) add(row.state.valid);
    if (zero) add(row.state.zero);
    previous_ = row.chunk;
    if (bytes_.size() >= packed_bytes) write();
  }

  void write() {
    if (bytes_.empty()) return;
    insert_.bind(1, static_cast<std::int64_t>(first_)).bind_blob(2, bytes_);
    insert_.run();
    bytes_.clear();
  }

 private:
  void add(const SectorSet& set) {
    const auto bytes = std::as_bytes(std::span(set.word));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  Statement insert_;
  std::vector<std::byte> bytes_;
  std::uint64_t first_ = 0, previous_ = 0;
};

class Unpacker {
 public:
  Unpacker(std::uint64_t first, std::span<const std::byte> bytes) : chunk_(first), bytes_(bytes) {}

  bool next(ChunkChange& row) {
    if (bytes_.empty()) return false;
    const auto flags = std::to_integer<unsigned>(take(1)[0]);
    std::uint64_t delta = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(take(1)[0]);
      if (shift > 56) damaged();
      delta |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) break;
    }
    chunk_ += delta;
    row.chunk = chunk_;
    row.state.valid = (flags & has_valid) != 0 ? take_set() : SectorSet::all();
    row.state.zero = (flags & has_zero) != 0 ? take_set() : SectorSet{};
    return true;
  }

 private:
  [[noreturn]] static void damaged() { throw Error(EUCLEAN, "a packed sector index is damaged"); }
  std::span<const std::byte> take(std::size_t count) {
    if (bytes_.size() < count) damaged();
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  SectorSet take_set() {
    SectorSet set;
    std::memcpy(set.word.data(), take(sizeof set.word).data(), sizeof set.word);
    return set;
  }

  std::uint64_t chunk_;
  std::span<const std::byte> bytes_;
};

void load_packed(Database& db, std::uint64_t disk_size,
                 const std::function<void(const ChunkChange&)>& fn) {
  const std::uint64_t chunks = chunk_count(disk_size);
  std::uint64_t next = 0;
  auto runs = db.prepare("SELECT first, chunks FROM packed ORDER BY first");
  while (runs.step()) {
    Unpacker run(static_cast<std::uint64_t>(runs.integer(0)), runs.blob(1));
    for (ChunkChange row; run.next(row);) {
      if (row.chunk < next) throw Error(EUCLEAN, "a packed sector index is not in order");
      if (row.chunk >= chunks)
        throw Error(EUCLEAN, "a packed sector index names a chunk past its disk's end");
      next = row.chunk + 1;
      fn(row);
    }
  }
}

}  // namespace

void pack_index(Database& db, std::uint64_t disk_size) {
  Transaction transaction(db);
  db.exec("CREATE TABLE packed(first INTEGER PRIMARY KEY, chunks BLOB NOT NULL)");
  Packer packer(db);
  load_rows(db, disk_size, [&](const ChunkChange& row) { packer.add(row); });
  packer.write();
  transaction.commit();
}

void unpack_index(Database& db) { db.exec("DROP TABLE IF EXISTS packed"); }

void load_frozen_index(const std::filesystem::path& path, const LayerIdentity& identity,
                       const std::function<void(const ChunkChange&)>& fn) {
  auto db = Database::open(path, Database::Mode::read_only);
  // The other tables are not used here; check_frozen_index() has the time.
  db.check("meta");
  check_identity(db, path, identity);
  db.check("packed");
  load_packed(db, identity.disk_size, fn);
}

std::vector<std::string> check_frozen_index(const std::filesystem::path& path,
                                            const LayerIdentity& identity) {
  auto db = Database::open(path, Database::Mode::read_only);
  std::vector<std::string> faults = db.find_faults();
  if (!faults.empty()) return faults;
  check_identity(db, path, identity);
  std::vector<ChunkChange> rows;
  load_rows(db, identity.disk_size, [&](const ChunkChange& row) { rows.push_back(row); });
  std::size_t same = 0, packed = 0;
  load_packed(db, identity.disk_size, [&](const ChunkChange& row) {
    if (packed < rows.size() && rows[packed] == row) ++same;
    ++packed;
  });
  if (same != rows.size() || packed != rows.size())
    faults.push_back("the packed sector index is not what the table of chunks says");
  return faults;
}

}  // namespace plydisk
