// Hears the chunks of one stream, and keeps them until they are read. A chunk is kept only if its
// hash, which came by another way, says that it is right.
#pragma once

#include <condition_variable>
#include <functional>
#include <optional>
#include <thread>

#include "multicast/chunk_assembly.hpp"
#include "multicast/chunk_cache.hpp"
#include "multicast/group.hpp"
#include "stack/chunk_hashes.hpp"

namespace plydisk {

class MulticastReceiver {
 public:
  struct Options {
    MulticastGroup group;
    StreamId stream{};
    std::uint64_t disk_size = 0;            // bytes
    std::size_t memory = 64 << 20;          // bytes, of what was heard and not read
    ChunkCache::Clock::duration timeout{};  // after which that goes
    std::size_t most_unfinished = 64;       // chunks
  };
  // The hash of a chunk that this station may take from here; none for others, whose packets are
  // left alone. Called from the receiver's thread; must not wait.
  using HashFn = std::function<std::optional<ChunkHash>(std::uint64_t chunk)>;

  // Joins, and listens until the end of the object. Throws Error if that can't be done.
  MulticastReceiver(const Options& options, HashFn hash);
  ~MulticastReceiver();
  MulticastReceiver(const MulticastReceiver&) = delete;
  MulticastReceiver& operator=(const MulticastReceiver&) = delete;

  // Thread safety: the functions below from any thread.
  ChunkCache& cache() noexcept { return cache_; }
  const ChunkCache& cache() const noexcept { return cache_; }
  // Whether the chunk is here, or comes until then.
  bool wait_for(std::uint64_t chunk, ChunkCache::Clock::time_point deadline);
  // When the last packet of the stream was heard; none: never.
  std::optional<ChunkCache::Clock::time_point> last_heard() const;

  struct Counters {
    std::uint64_t packets = 0;      // of the stream
    std::uint64_t foreign = 0;      // of other streams, or no packets
    std::uint64_t unwanted = 0;     // of chunks that are not taken from here, or are here already
    std::uint64_t lost = 0;         // by their sequence numbers
    std::uint64_t wrong = 0;        // chunks that were not what their hash says
    std::uint64_t crowded_out = 0;  // unfinished chunks that made room
  };
  Counters counters() const;

 private:
  void run();
  void take(std::span<const std::byte> bytes);
  void count_lost(const Packet& packet);
  bool is_wanted(const Packet& packet);
  bool can_be_taken(const Packet& packet);
  void check_whole(ChunkAssembly::Chunk chunk);
  void publish();

  const Options options_;
  const HashFn hash_;
  UniqueFd socket_, stop_;
  ChunkCache cache_;

  // The thread's.
  struct Seen {
    Counters counters;
    std::optional<ChunkCache::Clock::time_point> heard;
  };
  ChunkAssembly assembly_;
  Seen seen_;
  std::optional<std::uint32_t> refused_;  // the chunk that was looked at last, if it is not wanted
  std::optional<std::pair<std::uint32_t, std::uint64_t>> newest_;  // sender and sequence number

  mutable std::mutex mutex_;  // protects all below
  std::condition_variable arrived_;
  Seen published_;  // what others see: as it was after the last packets that came together

  std::thread thread_;
};

}  // namespace plydisk
