// How an image is sent by multicast: what an administrator sets for a store, or for one image.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "multicast/group.hpp"

namespace plydisk {

struct MulticastTerms {
  // automatic: as soon as at least so many stations are subscribed.
  enum class Use { no, yes, automatic };
  Use use = Use::no;
  MulticastGroup group;
  std::uint64_t rate = 0;       // bytes a second, of packets with their headers
  std::size_t packet_size = 0;  // bytes of UDP's payload
  std::chrono::milliseconds window{};
  unsigned least = 0;              // stations
  std::chrono::seconds timeout{};  // after which a station drops what it has heard
  std::uint64_t memory = 0;        // bytes that a station keeps at most

  // A stream of one image may have to be sent otherwise than that of another one.
  bool is_sent_as(const MulticastTerms& other) const {
    return group == other.group && rate == other.rate && packet_size == other.packet_size;
  }
};

}  // namespace plydisk
