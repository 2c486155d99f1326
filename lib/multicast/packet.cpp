#include "multicast/packet.hpp"

#include <algorithm>
#include <cstring>

#include "base/units.hpp"
#include "stack/chunk_hashes.hpp"

namespace plydisk {

namespace {

constexpr std::uint32_t magic = 0x314d4c50;  // "PLM1"

template <typename Number>
void put(std::byte* at, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i)
    at[i] = static_cast<std::byte>(number >> (8 * i) & 0xff);
}

template <typename Number>
Number get(const std::byte* at) {
  Number number = 0;
  for (std::size_t i = sizeof number; i-- > 0;)
    number = static_cast<Number>(number << 8 | std::to_integer<Number>(at[i]));
  return number;
}

}  // namespace

StreamId stream_id(const std::string& image, unsigned version) {
  const std::string text = image + ":" + std::to_string(version);
  const ChunkHash hash = hash_of(std::as_bytes(std::span(text)));
  StreamId id;
  std::copy_n(hash.begin(), id.size(), id.begin());
  return id;
}

std::size_t piece_length(const Packet& packet) {
  return std::min<std::size_t>(packet.stride, packet.chunk_length - packet.offset());
}

void write_header(const Packet& packet, std::byte* out) {
  put(out, magic);
  put(out + 4, packet.sender);
  put(out + 8, packet.sequence);
  std::copy(packet.stream.begin(), packet.stream.end(), out + 16);
  put(out + 32, packet.chunk);
  put(out + 36, packet.chunk_length);
  put(out + 40, packet.stride);
  put(out + 42, packet.index);
}

std::optional<Packet> parse_packet(std::span<const std::byte> bytes) {
  if (bytes.size() <= Packet::header_size) return std::nullopt;
  const std::byte* const at = bytes.data();
  if (get<std::uint32_t>(at) != magic) return std::nullopt;
  Packet packet;
  packet.sender = get<std::uint32_t>(at + 4);
  packet.sequence = get<std::uint64_t>(at + 8);
  std::copy_n(at + 16, packet.stream.size(), packet.stream.begin());
  packet.chunk = get<std::uint32_t>(at + 32);
  packet.chunk_length = get<std::uint32_t>(at + 36);
  packet.stride = get<std::uint16_t>(at + 40);
  packet.index = get<std::uint16_t>(at + 42);
  packet.piece = bytes.subspan(Packet::header_size);
  if (packet.chunk_length == 0 || packet.chunk_length > chunk_size || packet.stride == 0 ||
      packet.index >= packet.count() || packet.piece.size() != piece_length(packet))
    return std::nullopt;
  return packet;
}

}  // namespace plydisk
