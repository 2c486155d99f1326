// A packet of a multicast stream: a piece of one chunk of one version of an image.
//
//   offset  size  little-endian
//        0     4  magic
//        4     4  sender: random, another one after each start of a server
//        8     8  sequence number of the packet at this sender
//       16    16  stream: which image, in which version
//       32     4  chunk number
//       36     4  bytes of the chunk
//       40     2  stride: bytes of each piece of the chunk but the last
//       42     2  index of the piece
//       44        its bytes
//
// Nothing in it is trusted: who puts a chunk together compares that with a hash that came
// otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace plydisk {

using StreamId = std::array<std::byte, 16>;
// Of a version; `image`: the image's uuid.
StreamId stream_id(const std::string& image, unsigned version);

struct Packet {
  static constexpr std::size_t header_size = 44;     // bytes
  static constexpr std::size_t largest_size = 9000;  // bytes, with its header

  std::uint32_t sender = 0;
  std::uint64_t sequence = 0;
  StreamId stream{};
  std::uint32_t chunk = 0;
  std::uint32_t chunk_length = 0;  // bytes
  std::uint16_t stride = 0;        // bytes
  std::uint16_t index = 0;
  std::span<const std::byte> piece;

  std::size_t count() const { return (chunk_length + stride - 1U) / stride; }
  std::size_t offset() const { return std::size_t{index} * stride; }  // in the chunk, bytes
};

// The piece with this index of a chunk that has chunk_length bytes, at most `stride` long.
std::size_t piece_length(const Packet& packet);
// Writes the header into `out`, which has room for it.
void write_header(const Packet& packet, std::byte* out);
// The piece points into `bytes`. Nothing, if that is no packet.
std::optional<Packet> parse_packet(std::span<const std::byte> bytes);

}  // namespace plydisk
