#include "stack/chunk_hashes.hpp"

#include <gnutls/crypto.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk {

namespace {

constexpr const char* hashes_format = "1";
constexpr std::uint64_t group_chunks = 256;
constexpr std::size_t chunks_at_once = 1024;  // between two calls of the progress

std::string unfinished_name() { return std::string(ChunkHashes::file_name) + ".new"; }

// The value that meta has for a key; empty: none.
std::string meta(Database& db, const char* key) {
  auto row = db.prepare("SELECT value FROM meta WHERE key = ?");
  row.bind(1, std::string_view(key));
  return row.step() ? row.text(0) : "";
}

}  // namespace

ChunkHash hash_of(std::span<const std::byte> chunk) {
  ChunkHash hash;
  const int result = gnutls_hash_fast(GNUTLS_DIG_SHA256, chunk.data(), chunk.size(), hash.data());
  if (result < 0) throw Error(EIO, std::string("cannot hash: ") + gnutls_strerror(result));
  return hash;
}

std::size_t chunk_length(std::uint64_t chunk, std::uint64_t disk_size) {
  return static_cast<std::size_t>(std::min(chunk_size, disk_size - chunk * chunk_size));
}

std::unique_ptr<ChunkHashes> ChunkHashes::open(const std::filesystem::path& folder,
                                               const std::string& of, std::uint64_t disk_size) {
  const auto path = folder / file_name;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return nullptr;
  Database db = Database::open(path, Database::Mode::read_only);
  db.check();
  if (meta(db, "format") != hashes_format || meta(db, "of") != of ||
      meta(db, "disk_size") != std::to_string(disk_size))
    return nullptr;
  return std::unique_ptr<ChunkHashes>(new ChunkHashes(std::move(db)));
}

void ChunkHashes::remove(const std::filesystem::path& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder / file_name, error)) return;
  remove_tree(folder / file_name);
  sync_directory(folder);
}

namespace {

// Calls fn(chunk, hash) for the chunks of one row.
template <typename Fn>
void read_group(const Statement& row, std::uint64_t group, Fn&& fn) {
  const auto present = row.blob(0), hashes = row.blob(1);
  ChunkHash hash;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < group_chunks; ++i) {
    if (present.size() != group_chunks / 8) throw Error(EUCLEAN, "a table of hashes is damaged");
    if ((std::to_integer<unsigned>(present[i / 8]) >> (i % 8) & 1) == 0) continue;
    if (hashes.size() < at + hash.size()) throw Error(EUCLEAN, "a table of hashes is damaged");
    std::memcpy(hash.data(), hashes.data() + at, hash.size());
    at += hash.size();
    fn(group * group_chunks + i, hash);
  }
}

}  // namespace

void ChunkHashes::for_each(const Fn& fn) {
  auto row = db_.prepare("SELECT present, hashes, grp FROM hash ORDER BY grp");
  while (row.step()) read_group(row, static_cast<std::uint64_t>(row.integer(2)), fn);
}

void ChunkHashes::for_each_of(std::span<const std::uint64_t> chunks, const Fn& fn) {
  auto row = db_.prepare("SELECT present, hashes FROM hash WHERE grp = ?");
  for (auto chunk = chunks.begin(); chunk != chunks.end();) {
    const std::uint64_t group = *chunk / group_chunks;
    const auto end = std::lower_bound(chunk, chunks.end(), (group + 1) * group_chunks);
    row.bind(1, static_cast<std::int64_t>(group));
    if (row.step())
      read_group(row, group, [&](std::uint64_t number, const ChunkHash& hash) {
        if (std::binary_search(chunk, end, number)) fn(number, hash);
      });
    row.reset();
    chunk = end;
  }
}

ChunkHashWriter::ChunkHashWriter(const std::filesystem::path& folder, const std::string& of,
                                 std::uint64_t disk_size)
    : folder_(folder), unfinished_(folder / unfinished_name()) {
  std::error_code ignored;
  std::filesystem::remove(unfinished_, ignored);
  db_ = Database::open(unfinished_, Database::Mode::create);
  // It is synced as a whole, and of no use before.
  db_.exec("PRAGMA page_size=16384; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF");
  db_.exec(
      "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
      "CREATE TABLE hash(grp INTEGER PRIMARY KEY, present BLOB NOT NULL, hashes BLOB NOT NULL) "
      "STRICT");
  transaction_.emplace(db_);
  auto insert = db_.prepare("INSERT INTO meta VALUES(?, ?)");
  const std::pair<const char*, std::string> rows[] = {
      {"format", hashes_format}, {"of", of}, {"disk_size", std::to_string(disk_size)}};
  for (const auto& [key, value] : rows)
    insert.bind(1, std::string_view(key)).bind(2, std::string_view(value)).run();
  insert_.emplace(db_, "INSERT INTO hash VALUES(?, ?, ?)");
}

ChunkHashWriter::~ChunkHashWriter() {
  insert_.reset();
  transaction_.reset();
  if (!db_) return;
  db_.close();
  std::error_code ignored;
  std::filesystem::remove(unfinished_, ignored);
}

void ChunkHashWriter::add(std::uint64_t chunk, const ChunkHash& hash) {
  if (chunk / group_chunks != group_) {
    write_group();
    group_ = chunk / group_chunks;
  }
  const auto bit = chunk % group_chunks;
  present_[bit / 8] |= std::byte(1U << (bit % 8));
  hashes_.insert(hashes_.end(), hash.begin(), hash.end());
}

void ChunkHashWriter::write_group() {
  if (hashes_.empty()) return;
  insert_->bind(1, static_cast<std::int64_t>(group_))
      .bind_blob(2, present_)
      .bind_blob(3, hashes_)
      .run();
  present_ = {};
  hashes_.clear();
}

void ChunkHashWriter::finish() {
  write_group();
  insert_.reset();
  transaction_->commit();
  transaction_.reset();
  db_.close();
  replace_file_durably(unfinished_, folder_ / ChunkHashes::file_name);
}

namespace {

// Holes are not read: they would fill the page cache with zeros.
void read_chunk(const Stack& stack, std::byte* buffer, std::size_t length, std::uint64_t offset) {
  if (!stack.version->backing().has_cheap_extents()) return stack.read(buffer, length, offset);
  stack.for_each_extent(offset, length, [&](std::uint64_t at, std::uint64_t bytes, bool is_zero) {
    if (is_zero)
      std::memset(buffer + (at - offset), 0, bytes);
    else
      stack.read(buffer + (at - offset), bytes, at);
  });
}

// Hashes every `threads`-th of the chunks, from number `first`.
void hash_some(const Stack& stack, std::span<const std::uint64_t> chunks, std::size_t first,
               std::size_t threads, std::span<ChunkHash> hashes) {
  std::vector<std::byte> buffer(chunk_size);
  for (std::size_t i = first; i < chunks.size(); i += threads) {
    const std::size_t length = chunk_length(chunks[i], stack.version->size());
    read_chunk(stack, buffer.data(), length, chunks[i] * chunk_size);
    hashes[i] = hash_of({buffer.data(), length});
  }
}

}  // namespace

void hash_chunks(const Stack& stack, const std::vector<std::uint64_t>& chunks,
                 const Progress& progress, const ChunkHashes::Fn& fn) {
  const std::size_t threads = std::clamp(std::thread::hardware_concurrency(), 1U, 4U);
  std::vector<ChunkHash> hashes(chunks_at_once);
  for (std::size_t at = 0; at < chunks.size(); at += chunks_at_once) {
    const auto some = std::span(chunks).subspan(at, std::min(chunks_at_once, chunks.size() - at));
    std::vector<std::future<void>> others;
    for (std::size_t thread = 1; thread < threads; ++thread)
      others.push_back(std::async(
          std::launch::async, [&, thread] { hash_some(stack, some, thread, threads, hashes); }));
    hash_some(stack, some, 0, threads, hashes);
    for (auto& other : others) other.get();
    for (std::size_t i = 0; i < some.size(); ++i) fn(some[i], hashes[i]);
    if (progress) progress((at + some.size()) * chunk_size, chunks.size() * chunk_size);
  }
}

}  // namespace plydisk
