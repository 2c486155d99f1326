// Puts chunks together from the packets of one stream, which come in any order, several times, or
// not at all, and may be anybody's.
//
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "multicast/packet.hpp"

namespace plydisk {

class ChunkAssembly {
 public:
  // `most_unfinished`: chunks of which some pieces are kept while others are missing; the one that
  // was begun first makes room.
  explicit ChunkAssembly(std::size_t most_unfinished) : most_unfinished_(most_unfinished) {}

  struct Chunk {
    std::uint32_t number = 0;
    std::vector<std::byte> bytes;
  };
  // The chunk, if this was the last piece of it. Its bytes are whatever was sent.
  std::optional<Chunk> add(const Packet& packet);
  // Whether some of its pieces are here, and others are missing.
  bool has(std::uint32_t chunk) const { return unfinished_.contains(chunk); }
  // Pieces of this chunk are not wanted, or were wrong.
  void forget(std::uint32_t chunk);

  struct Counters {
    std::uint64_t repeated = 0;     // packets that were there already
    std::uint64_t misfitting = 0;   // packets that don't fit the others of their chunk
    std::uint64_t crowded_out = 0;  // chunks that made room
  };
  const Counters& counters() const noexcept { return counters_; }

 private:
  struct Unfinished {
    std::uint16_t stride = 0;
    std::vector<std::byte> bytes;
    std::vector<bool> has;  // by index
    std::size_t missing = 0;
    std::list<std::uint32_t>::iterator age;
  };

  const std::size_t most_unfinished_;
  std::unordered_map<std::uint32_t, Unfinished> unfinished_;
  std::list<std::uint32_t> by_age_;  // oldest first
  Counters counters_;
};

}  // namespace plydisk
