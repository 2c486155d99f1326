#include "multicast/member.hpp"

#include <algorithm>

#include "base/memory.hpp"

namespace plydisk {

namespace {

using namespace std::chrono_literals;

// When the server says that a chunk was sent, it is on its way.
constexpr auto arrival_limit = 50ms;
// As long as nothing was ever heard: switches may have to learn who listens.
constexpr auto first_arrival_limit = 200ms;
// After a refusal the server is not asked for so long.
constexpr auto refusal_pause = 250ms;
// So that a large disk, or whoever sends packets of chunks all over it, takes no more memory for
// hashes than 32 MiB. What lies elsewhere is read by unicast.
constexpr std::size_t most_ranges = 256;
// What was heard is only to take so much of a small machine's memory.
constexpr std::uint64_t memory_share = 8;

MulticastReceiver::Options options_for(const MulticastOffer& offer, const std::string& interface) {
  MulticastReceiver::Options options;
  options.group = offer.group;
  options.group.interface = interface;
  options.stream = offer.stream;
  options.disk_size = offer.disk_size;
  options.memory =
      static_cast<std::size_t>(std::min(offer.memory, memory_of_machine() / memory_share));
  options.timeout = offer.timeout;
  return options;
}

MulticastMember::Clock::rep now_count() {
  return MulticastMember::Clock::now().time_since_epoch().count();
}

}  // namespace

MulticastMember::MulticastMember(const MulticastOffer& offer, const std::string& interface,
                                 std::uint64_t connection,
                                 std::shared_ptr<const WrittenChunks> written,
                                 std::function<void()> wake)
    : offer_(offer),
      connection_(connection),
      written_(std::move(written)),
      wake_(std::move(wake)),
      // A disk is read from its beginning first.
      ranges_{{0, std::nullopt}},
      wanted_{0},
      receiver_(options_for(offer, interface),
                [this](std::uint64_t chunk) { return find_hash(chunk); }) {}

std::optional<ChunkHash> MulticastMember::find_hash(std::uint64_t chunk) {
  if (chunk >= chunk_count(offer_.disk_size) || written_->has(chunk)) return std::nullopt;
  const std::uint64_t range = chunk / hash_range_chunks;
  {
    const std::lock_guard lock(mutex_);
    const auto found = ranges_.find(range);
    if (found != ranges_.end()) {
      const std::size_t at = chunk % hash_range_chunks;
      if (!found->second || at >= found->second->size()) return std::nullopt;
      return (*found->second)[at];
    }
    if (ranges_.size() >= most_ranges) return std::nullopt;
    ranges_[range] = std::nullopt;
    wanted_.push_back(range);
  }
  wake_();
  return std::nullopt;
}

std::optional<std::uint64_t> MulticastMember::next_range() {
  const std::lock_guard lock(mutex_);
  if (wanted_.empty()) return std::nullopt;
  const std::uint64_t range = wanted_.front();
  wanted_.erase(wanted_.begin());
  return range;
}

void MulticastMember::put_hashes(std::uint64_t range, Hashes hashes) {
  const std::lock_guard lock(mutex_);
  ranges_[range] = std::move(hashes);
}

void MulticastMember::miss_hashes(std::uint64_t range) {
  const std::lock_guard lock(mutex_);
  ranges_.erase(range);
}

// A write marks its chunks before it begins. So a read that begins after a write has ended finds
// the mark, and whatever is in the cache then is not looked at.
bool MulticastMember::take(std::uint64_t chunk, std::size_t offset, std::span<std::byte> out) {
  return !written_->has(chunk) && receiver_.cache().read(chunk, offset, out, Clock::now());
}

bool MulticastMember::is_silent() {
  Clock::rep since = silent_since_.load();
  if (since == 0) return false;
  const auto heard = receiver_.last_heard();
  if (!heard || heard->time_since_epoch().count() <= since) return true;
  silent_since_.compare_exchange_strong(since, 0);
  return false;
}

bool MulticastMember::may_ask() { return !is_silent() && now_count() >= refused_until_.load(); }

void MulticastMember::note_asked(std::uint64_t chunk, std::uint64_t count) {
  last_asked_.store(chunk);
  asked_.fetch_add(count);
}

void MulticastMember::note_refused(std::uint64_t count) {
  refusals_.fetch_add(count);
  refused_until_.store(now_count() + Clock::duration(refusal_pause).count());
}

bool MulticastMember::wait_for(std::uint64_t chunk, Clock::time_point asked) {
  const bool has_heard = receiver_.last_heard().has_value();
  if (receiver_.wait_for(chunk, Clock::now() + (has_heard ? arrival_limit : first_arrival_limit)))
    return true;
  missed_.fetch_add(1);
  const auto heard = receiver_.last_heard();
  if (!heard || *heard < asked) silent_since_.store(now_count());
  return false;
}

void MulticastMember::note_read(std::uint64_t heard, std::uint64_t unicast) {
  bytes_heard_.fetch_add(heard, std::memory_order_relaxed);
  bytes_unicast_.fetch_add(unicast, std::memory_order_relaxed);
}

std::size_t MulticastMember::ranges_known() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(ranges_, [](const auto& range) { return range.second.has_value(); }));
}

MulticastCounters MulticastMember::counters() const {
  const MulticastReceiver::Counters received = receiver_.counters();
  const ChunkCache::Counters cached = receiver_.cache().counters();
  MulticastCounters counters;
  counters.packets = received.packets;
  counters.foreign = received.foreign;
  counters.unwanted = received.unwanted;
  counters.lost = received.lost;
  counters.wrong = received.wrong;
  counters.heard = cached.heard;
  counters.used = cached.used;
  counters.aged = cached.aged;
  counters.crowded_out = cached.crowded_out + received.crowded_out;
  counters.asked = asked_.load();
  counters.refused = refusals_.load();
  counters.missed = missed_.load();
  counters.bytes_heard = bytes_heard_.load();
  counters.bytes_unicast = bytes_unicast_.load();
  return counters;
}

}  // namespace plydisk
