#include "multicast/receiver.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <array>

#include "base/error.hpp"
#include "base/thread.hpp"

namespace plydisk {

namespace {

constexpr std::size_t socket_buffer = 8 << 20;  // bytes
constexpr unsigned packets_at_once = 64;

}  // namespace

MulticastReceiver::MulticastReceiver(const Options& options, HashFn hash)
    : options_(options),
      hash_(std::move(hash)),
      socket_(open_receiver(options.group, socket_buffer)),
      stop_(::eventfd(0, EFD_CLOEXEC)),
      cache_(options.memory, options.timeout),
      assembly_(options.most_unfinished) {
  if (!stop_) throw_errno("cannot make an event");
  thread_ = start_without_signals([this] { run(); });
}

MulticastReceiver::~MulticastReceiver() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

bool MulticastReceiver::wait_for(std::uint64_t chunk, ChunkCache::Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return arrived_.wait_until(lock, deadline,
                             [&] { return cache_.has(chunk, ChunkCache::Clock::now()); });
}

std::optional<ChunkCache::Clock::time_point> MulticastReceiver::last_heard() const {
  const std::lock_guard lock(mutex_);
  return published_.heard;
}

MulticastReceiver::Counters MulticastReceiver::counters() const {
  const std::lock_guard lock(mutex_);
  return published_.counters;
}

void MulticastReceiver::publish() {
  seen_.counters.crowded_out = assembly_.counters().crowded_out;
  const std::lock_guard lock(mutex_);
  published_ = seen_;
}

void MulticastReceiver::run() {
  std::vector<std::byte> room(packets_at_once * Packet::largest_size);
  std::array<iovec, packets_at_once> parts;
  std::array<mmsghdr, packets_at_once> messages;
  while (true) {
    std::array<pollfd, 2> wait{{{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    ::poll(wait.data(), wait.size(), -1);
    if (wait[1].revents != 0) return;
    messages = {};
    for (unsigned i = 0; i < packets_at_once; ++i) {
      parts[i] = {room.data() + i * Packet::largest_size, Packet::largest_size};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int count =
        ::recvmmsg(socket_.get(), messages.data(), packets_at_once, MSG_DONTWAIT, nullptr);
    for (int i = 0; i < count; ++i)
      take(std::span(room).subspan(static_cast<std::size_t>(i) * Packet::largest_size,
                                   messages[static_cast<std::size_t>(i)].msg_len));
    publish();
  }
}

void MulticastReceiver::take(std::span<const std::byte> bytes) {
  const auto packet = parse_packet(bytes);
  if (!packet || packet->stream != options_.stream) {
    ++seen_.counters.foreign;
    return;
  }
  ++seen_.counters.packets;
  seen_.heard = ChunkCache::Clock::now();
  count_lost(*packet);
  if (!is_wanted(*packet)) {
    ++seen_.counters.unwanted;
    return;
  }
  if (auto whole = assembly_.add(*packet)) check_whole(std::move(*whole));
}

// What comes late was counted as lost when a later one came; what comes from somebody else may have
// any number. So this is an estimate, and never more than that.
void MulticastReceiver::count_lost(const Packet& packet) {
  constexpr std::uint64_t most_at_once = 1 << 16;
  if (newest_ && newest_->first == packet.sender) {
    if (packet.sequence <= newest_->second) return;
    const std::uint64_t missing = packet.sequence - newest_->second - 1;
    if (missing < most_at_once) seen_.counters.lost += missing;
  }
  newest_ = {packet.sender, packet.sequence};
}

// A chunk is looked at when its first piece comes, and not again for the others. Whether it may be
// kept is decided in the end, by check_whole().
bool MulticastReceiver::is_wanted(const Packet& packet) {
  if (assembly_.has(packet.chunk)) return true;
  if (refused_ == packet.chunk && packet.index != 0) return false;
  const bool is_wanted = can_be_taken(packet);
  refused_ = is_wanted ? std::nullopt : std::optional(packet.chunk);
  return is_wanted;
}

bool MulticastReceiver::can_be_taken(const Packet& packet) {
  return packet.chunk < chunk_count(options_.disk_size) &&
         packet.chunk_length == chunk_length(packet.chunk, options_.disk_size) &&
         !cache_.has(packet.chunk, ChunkCache::Clock::now()) && hash_(packet.chunk).has_value();
}

void MulticastReceiver::check_whole(ChunkAssembly::Chunk chunk) {
  const auto expected = hash_(chunk.number);
  if (expected && hash_of(chunk.bytes) == *expected)
    cache_.put(chunk.number, std::move(chunk.bytes), ChunkCache::Clock::now());
  else if (expected)
    ++seen_.counters.wrong;
  publish();
  arrived_.notify_all();
}

}  // namespace plydisk
