// What a station asks of its server about multicast, besides the disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "multicast/counters.hpp"
#include "multicast/group.hpp"
#include "multicast/packet.hpp"
#include "stack/chunk_hashes.hpp"

namespace plydisk {

struct MulticastOffer {
  MulticastGroup group;  // the interface is the server's
  StreamId stream{};
  std::uint64_t disk_size = 0;     // bytes
  std::chrono::seconds timeout{};  // after which what was heard and not read is dropped
  std::uint64_t memory = 0;        // bytes of that, at most
  bool operator==(const MulticastOffer&) const = default;
};

// Hashes of so many chunks are asked for at once.
inline constexpr std::uint64_t hash_range_chunks = 4096;

// Thread safety: all functions from any thread. They throw Error: what the server refuses, in its
// words; ETIMEDOUT or ESHUTDOWN if it is not reached.
class MulticastUpstream {
 public:
  virtual ~MulticastUpstream() = default;
  // Subscribes, or says again that it still is; and what came of it so far.
  virtual MulticastOffer join_multicast(const MulticastCounters& counters) = 0;
  virtual void leave_multicast() = 0;
  // Of the chunks from number `range` times hash_range_chunks on; none for those that read
  // otherwise in this session than others hear them, or of which the server knows none.
  virtual std::vector<std::optional<ChunkHash>> multicast_hashes(std::uint64_t range) = 0;
};

}  // namespace plydisk
