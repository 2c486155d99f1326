#include "multicast/sender.hpp"

#include <netinet/udp.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "base/error.hpp"

namespace plydisk {

namespace {

// The kernel cuts one send into packets of equal size, so a chunk takes two or three calls.
constexpr std::size_t most_bytes_at_once = 60'000, most_packets_at_once = 64;

std::size_t checked_packet_size(std::size_t size) {
  if (size < MulticastSender::least_packet_size || size > Packet::largest_size)
    throw Error(EINVAL, "packets for multicast have " +
                            std::to_string(MulticastSender::least_packet_size) + " to " +
                            std::to_string(Packet::largest_size) + " bytes");
  return size;
}

}  // namespace

MulticastSender::MulticastSender(const Options& options)
    : options_(options),
      stride_(checked_packet_size(options.packet_size) - Packet::header_size),
      id_(std::random_device{}()),
      socket_(open_sender(options.group)),
      bucket_(std::max<std::uint64_t>(options.rate, 1), options.burst, TokenBucket::Clock::now()) {}

void MulticastSender::send(const StreamId& stream, std::uint32_t chunk,
                           std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  Packet packet;
  packet.sender = id_;
  packet.stream = stream;
  packet.chunk = chunk;
  packet.chunk_length = static_cast<std::uint32_t>(bytes.size());
  packet.stride = static_cast<std::uint16_t>(stride_);
  const std::size_t at_once =
      std::min(most_packets_at_once, most_bytes_at_once / options_.packet_size);
  const std::size_t count = packet.count();
  for (std::size_t index = 0; index < count;) {
    const std::size_t packets = std::min(at_once, count - index);
    batch_.resize(packets * options_.packet_size);
    std::size_t last_size = 0;
    for (std::size_t i = 0; i < packets; ++i, ++index) {
      packet.index = static_cast<std::uint16_t>(index);
      packet.sequence = sequence_++;
      std::byte* const out = batch_.data() + i * options_.packet_size;
      write_header(packet, out);
      const std::size_t length = piece_length(packet);
      std::memcpy(out + Packet::header_size, bytes.data() + packet.offset(), length);
      last_size = Packet::header_size + length;
    }
    send_batch(packets, last_size);
  }
  ++counters_.chunks;
}

// All packets but the last have the full size.
void MulticastSender::send_batch(std::size_t packets, std::size_t last_size) {
  const std::size_t size = (packets - 1) * options_.packet_size + last_size;
  pace(size);
  iovec part{batch_.data(), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(std::uint16_t))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (packets > 1) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const segment = CMSG_FIRSTHDR(&message);
    segment->cmsg_level = SOL_UDP;
    segment->cmsg_type = UDP_SEGMENT;
    segment->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto packet_size = static_cast<std::uint16_t>(options_.packet_size);
    std::memcpy(CMSG_DATA(segment), &packet_size, sizeof packet_size);
  }
  while (::sendmsg(socket_.get(), &message, 0) < 0)
    // A broadcast or a group that somebody of this machine refuses is no matter of the others.
    if (errno != EINTR && errno != ECONNREFUSED) throw_errno("cannot send by multicast");
  counters_.packets += packets;
  counters_.bytes += size;
}

void MulticastSender::pace(std::uint64_t bytes) {
  const auto wait = bucket_.take(bytes, TokenBucket::Clock::now());
  if (wait > TokenBucket::Clock::duration::zero()) std::this_thread::sleep_for(wait);
}

MulticastSender::Counters MulticastSender::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

}  // namespace plydisk
