// Chunks that were heard and are to be read soon, in memory with a hard limit. An entry goes when
// all of it was read, when it is older than the timeout, and, oldest first, when there is no room.
// What is put here has been compared with its hash.
//
// Thread safety: all functions from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/units.hpp"

namespace plydisk {

class ChunkCache {
 public:
  using Clock = std::chrono::steady_clock;
  // `limit`: bytes of all chunks together.
  ChunkCache(std::size_t limit, Clock::duration timeout) : limit_(limit), timeout_(timeout) {}

  void put(std::uint64_t chunk, std::vector<std::byte> bytes, Clock::time_point now);
  // Copies bytes of the chunk that begin at `offset` into `out`, and forgets those sectors that
  // were read whole. False if they are not here, or not all.
  bool read(std::uint64_t chunk, std::size_t offset, std::span<std::byte> out,
            Clock::time_point now);
  bool has(std::uint64_t chunk, Clock::time_point now);
  // The chunk was written: it is something else by now.
  void drop(std::uint64_t chunk);

  struct Counters {
    std::uint64_t heard = 0;        // chunks put here
    std::uint64_t used = 0;         // of these, those of which something was read
    std::uint64_t aged = 0;         // that went by the timeout, unused
    std::uint64_t crowded_out = 0;  // that made room, unused
    std::size_t bytes = 0;          // here now
  };
  Counters counters() const;

 private:
  struct Entry {
    std::uint64_t chunk = 0;
    std::vector<std::byte> bytes;
    Clock::time_point heard;
    SectorSet unread;
    bool used = false;
  };
  using Entries = std::list<Entry>;

  void expire(Clock::time_point now);
  void erase(Entries::iterator entry);

  const std::size_t limit_;
  const Clock::duration timeout_;
  mutable std::mutex mutex_;  // protects all below
  Entries entries_;           // oldest first
  std::unordered_map<std::uint64_t, Entries::iterator> by_chunk_;
  Counters counters_;
};

}  // namespace plydisk
