// Sends chunks to a multicast group, each in packets, no faster than a rate.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "multicast/group.hpp"
#include "multicast/packet.hpp"
#include "multicast/token_bucket.hpp"

namespace plydisk {

class MulticastSender {
 public:
  struct Options {
    MulticastGroup group;
    std::uint64_t rate = 0;           // bytes a second, of packets with their headers
    std::uint64_t burst = 256 << 10;  // bytes
    std::size_t packet_size = 1400;   // bytes of UDP's payload
  };
  static constexpr std::size_t least_packet_size = 300;  // bytes, as below
  // Throws Error(EINVAL) for what can't be sent so.
  explicit MulticastSender(const Options& options);

  // Returns when it was sent. Chunks of several threads come one after the other. Throws Error for
  // what the network refuses.
  void send(const StreamId& stream, std::uint32_t chunk, std::span<const std::byte> bytes);

  struct Counters {
    std::uint64_t chunks = 0, packets = 0;
    std::uint64_t bytes = 0;  // of packets with their headers
  };
  Counters counters() const;

 private:
  void pace(std::uint64_t bytes);
  void send_batch(std::size_t packets, std::size_t last_size);

  const Options options_;
  const std::size_t stride_;
  const std::uint32_t id_;
  UniqueFd socket_;
  mutable std::mutex mutex_;  // protects all below
  TokenBucket bucket_;
  std::uint64_t sequence_ = 0;
  std::vector<std::byte> batch_;
  Counters counters_;
};

}  // namespace plydisk
