#include "multicast/service.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "stack/disk.hpp"

namespace plydisk {

namespace {

constexpr auto lapse = 3 * multicast_renewal;

}  // namespace

void MulticastService::subscribe(const std::shared_ptr<Disk>& disk, const std::string& session,
                                 const Stream& stream, const MulticastCounters& counters) {
  if (stream.terms.use == MulticastTerms::Use::no)
    throw Error(ENOTSUP, "the parameter multicast says that image \"" + stream.image +
                             "\" is not sent by multicast");
  const std::lock_guard lock(mutex_);
  if (stopping_) throw Error(ESHUTDOWN, "the server is stopping");
  StreamState& state = streams_[stream.id];
  if (!state.feed || !state.feed->is_for(stream.terms)) state.feed = feed_for(stream.terms);
  state.status.image = stream.image;
  state.status.version = stream.version;
  state.status.terms = stream.terms;
  Subscriber& subscriber = subscribers_[session];
  if (subscriber.address != disk.get()) subscriber = {};
  subscriber.disk = disk;
  subscriber.address = disk.get();
  subscriber.stream = stream.id;
  subscriber.renewed = Clock::now();
  subscriber.status.counters = counters;
  subscriber.status.is_subscribed = true;
  forget_lapsed();
}

// Streams that are sent in the same way have one feed, and so one rate. Called with the lock.
std::shared_ptr<MulticastFeed> MulticastService::feed_for(const MulticastTerms& terms) {
  std::erase_if(feeds_, [](const auto& feed) { return feed.expired(); });
  for (const auto& weak : feeds_)
    if (auto feed = weak.lock(); feed && feed->is_for(terms)) return feed;
  auto feed = std::make_shared<MulticastFeed>(terms);
  feeds_.push_back(feed);
  return feed;
}

void MulticastService::leave(const std::string& session) {
  const std::lock_guard lock(mutex_);
  if (const auto found = subscribers_.find(session); found != subscribers_.end())
    found->second.status.is_subscribed = false;
  forget_lapsed();
}

// Called with the lock.
void MulticastService::forget_lapsed() {
  std::erase_if(subscribers_, [](const auto& entry) { return entry.second.disk.expired(); });
  for (auto& [session, subscriber] : subscribers_)
    if (Clock::now() - subscriber.renewed > lapse) subscriber.status.is_subscribed = false;
  // A group that nobody listens to needs no thread.
  for (auto& [id, state] : streams_)
    if (count_subscribers(id) == 0) state.feed.reset();
}

unsigned MulticastService::count_subscribers(const StreamId& stream) const {
  return static_cast<unsigned>(std::ranges::count_if(subscribers_, [&](const auto& entry) {
    const Subscriber& subscriber = entry.second;
    return subscriber.status.is_subscribed && subscriber.stream == stream &&
           !subscriber.disk.expired() && Clock::now() - subscriber.renewed <= lapse;
  }));
}

MulticastService::Answer MulticastService::send(const Disk& disk, std::uint64_t offset,
                                                std::uint64_t length) {
  const auto is_its = [&](const auto& entry) {
    return entry.second.address == &disk && !entry.second.disk.expired();
  };
  MulticastFeed::Chunks chunks;
  std::shared_ptr<MulticastFeed> feed;
  std::string session;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(subscribers_, is_its);
    if (found == subscribers_.end() || !found->second.status.is_subscribed)
      return Answer::not_subscribed;
    session = found->first;
    ++found->second.status.asked;
    const StreamState& state = streams_[found->second.stream];
    const MulticastTerms& terms = state.status.terms;
    if (terms.use == MulticastTerms::Use::yes ||
        count_subscribers(found->second.stream) >= terms.least)
      feed = state.feed;
    chunks.stream = found->second.stream;
    chunks.window = terms.window;
  }
  chunks.first = offset / chunk_size;
  chunks.count = chunk_count(offset + length) - chunks.first;
  const Stack stack = disk.stack();
  MulticastFeed::Result result;
  if (feed && length > 0 && stack.version && !disk.was_direct() &&
      stack.is_untouched(chunks.first, chunks.count)) {
    chunks.version = stack.version;
    result = feed->send(chunks);
  }
  const std::lock_guard lock(mutex_);
  StreamStatus& status = streams_[chunks.stream].status;
  status.chunks += result.chunks;
  status.bytes += result.bytes;
  if (result.is_sent) status.merged += chunks.count - result.chunks;
  status.refused += !result.is_sent;
  if (const auto found = subscribers_.find(session); found != subscribers_.end())
    found->second.status.refused += !result.is_sent;
  return result.is_sent ? Answer::sent : Answer::refused;
}

std::vector<MulticastService::StreamStatus> MulticastService::streams() {
  const std::lock_guard lock(mutex_);
  forget_lapsed();
  std::vector<StreamStatus> all;
  for (const auto& [id, state] : streams_) {
    all.push_back(state.status);
    all.back().subscribers = count_subscribers(id);
    if (state.feed) all.back().trouble = state.feed->trouble();
  }
  return all;
}

std::optional<MulticastService::SubscriberStatus> MulticastService::subscriber(
    const std::string& session) {
  const std::lock_guard lock(mutex_);
  forget_lapsed();
  const auto found = subscribers_.find(session);
  return found == subscribers_.end() ? std::nullopt : std::optional(found->second.status);
}

void MulticastService::stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  for (const auto& weak : feeds_)
    if (const auto feed = weak.lock()) feed->stop();
}

}  // namespace plydisk
