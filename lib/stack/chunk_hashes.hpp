// Hashes of a version's chunks, to notice damage, and to know a chunk that came from elsewhere.
//
// Beside what they are of, the data file of a frozen layer or the backing of an image, lies an
// SQLite file, hashes.sqlite:
//
//   meta(key, value)        format, of (uuid of the layer or image), disk_size
//   hash(grp, present, hashes)
//                           of the chunks of each group of 256 those that are present (32 bytes, a
//                           bit for each), 32 bytes a chunk in order
//
// A layer's file has the hash of each chunk of which the layer holds anything, as the chunk reads
// through that layer and all below it. So a version's hash of a chunk is in the newest of its
// layers that has one, or else in the backing's file; and a chunk that the backing's file has not
// is one of zeros. The file appears complete, or not at all.
//
// The hash is SHA-256 of the chunk's bytes; the last chunk of a disk may be shorter than the
// others. In place of the hash of a chunk that is partly what lies below, and that was damaged
// there already, are 32 bytes of zeros, which no chunk hashes to: so its damage stays known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/sqlite.hpp"
#include "stack/stack.hpp"

namespace plydisk {

using ChunkHash = std::array<std::byte, 32>;
constexpr ChunkHash damaged_chunk{};

// Throws Error(EIO) if the library can't.
ChunkHash hash_of(std::span<const std::byte> chunk);
// How many bytes chunk number `chunk` has on a disk of this size.
std::size_t chunk_length(std::uint64_t chunk, std::uint64_t disk_size);

class ChunkHashes {
 public:
  static constexpr const char* file_name = "hashes.sqlite";
  using Fn = std::function<void(std::uint64_t chunk, const ChunkHash& hash)>;

  // Null if the folder has none, or those of something else. `of`: the uuid. EUCLEAN: damaged.
  static std::unique_ptr<ChunkHashes> open(const std::filesystem::path& folder,
                                           const std::string& of, std::uint64_t disk_size);
  // Takes the file away, durably, before what it is of is changed.
  static void remove(const std::filesystem::path& folder);

  // In the order of the chunks.
  void for_each(const Fn& fn);
  // Of these, which are in rising order, those that it has.
  void for_each_of(std::span<const std::uint64_t> chunks, const Fn& fn);

 private:
  explicit ChunkHashes(Database db) : db_(std::move(db)) {}
  Database db_;
};

// Writes a file of hashes anew.
class ChunkHashWriter {
 public:
  ChunkHashWriter(const std::filesystem::path& folder, const std::string& of,
                  std::uint64_t disk_size);
  ~ChunkHashWriter();
  // Chunks in rising order.
  void add(std::uint64_t chunk, const ChunkHash& hash);
  // Makes it the folder's file, durably. Without this call nothing is left.
  void finish();

 private:
  void write_group();

  const std::filesystem::path folder_, unfinished_;
  Database db_;
  std::optional<Transaction> transaction_;
  std::optional<Statement> insert_;
  std::uint64_t group_ = 0;
  std::array<std::byte, 32> present_{};
  std::vector<std::byte> hashes_;
};

// Reads chunks of a stack that does not change, in several threads, and calls fn with their hashes,
// in order, from this thread. Throws what reading throws.
void hash_chunks(const Stack& stack, const std::vector<std::uint64_t>& chunks,
                 const Progress& progress, const ChunkHashes::Fn& fn);

}  // namespace plydisk
