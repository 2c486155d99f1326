#include "layer/index_rows.hpp"

#include <bit>
#include <cstring>

#include "base/error.hpp"

namespace plydisk {

namespace {

static_assert(std::endian::native == std::endian::little, "sets are stored as they are in memory");

SectorSet set_from(const Statement& row, int column, const SectorSet& if_null) {
  if (row.is_null(column)) return if_null;
  SectorSet set;
  const auto blob = row.blob(column);
  if (blob.size() != sizeof set.word) throw Error(EUCLEAN, "a sector set has a wrong length");
  std::memcpy(set.word.data(), blob.data(), sizeof set.word);
  return set;
}

}  // namespace

ChunkState read_state(const Statement& row, int column) {
  return {set_from(row, column, SectorSet::all()), set_from(row, column + 1, SectorSet{})};
}

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
    fn({chunk, read_state(rows, 1)});
  }
}

}  // namespace plydisk
