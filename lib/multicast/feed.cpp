#include "multicast/feed.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/thread.hpp"
#include "stack/chunk_hashes.hpp"
#include "stack/stack.hpp"

namespace plydisk {

namespace {

// So long, in milliseconds, a request may wait for those before it: a station that read what it
// wants instead would have it by then.
constexpr std::uint64_t longest_wait = 200;
// What is known of what was sent, if the window and the rate are large.
constexpr std::size_t most_known = 1 << 20;

}  // namespace

MulticastFeed::MulticastFeed(const MulticastTerms& terms)
    : terms_(terms),
      most_waiting_(static_cast<std::size_t>(terms.rate * longest_wait / 1000 / chunk_size)),
      sender_({terms.group, terms.rate, 256 << 10, terms.packet_size}),
      thread_(start_without_signals([this] { run(); })) {}

MulticastFeed::~MulticastFeed() {
  stop();
  thread_.join();
}

MulticastFeed::Result MulticastFeed::send(const Chunks& chunks) {
  std::vector<std::shared_ptr<Job>> awaited, own;
  std::unique_lock lock(mutex_);
  if (stopping_ || waiting_.size() > most_waiting_) return {};
  const Clock::time_point now = Clock::now();
  forget_old(now, chunks.window);
  for (std::uint64_t chunk = chunks.first; chunk < chunks.first + chunks.count; ++chunk) {
    const Key key{chunks.stream, chunk};
    if (const auto waiting = waiting_.find(key); waiting != waiting_.end()) {
      awaited.push_back(waiting->second);
      continue;
    }
    if (const auto sent = sent_.find(key);
        sent != sent_.end() && now - sent->second < chunks.window)
      continue;
    own.push_back(std::make_shared<Job>(Job{key, chunks.version}));
    awaited.push_back(own.back());
    waiting_[key] = own.back();
    queue_.push_back(own.back());
  }
  wanted_.notify_one();
  done_.wait(lock, [&] {
    return std::ranges::all_of(awaited, [](const auto& job) { return job->is_done; });
  });
  Result result;
  result.is_sent = std::ranges::all_of(awaited, [](const auto& job) { return job->is_sent; });
  for (const auto& job : own) {
    result.chunks += job->is_sent;
    result.bytes += job->bytes;
  }
  return result;
}

void MulticastFeed::forget_old(Clock::time_point now, std::chrono::milliseconds window) {
  while (!sent_in_order_.empty() &&
         (now - sent_in_order_.front().second >= window || sent_in_order_.size() > most_known)) {
    const auto& [key, at] = sent_in_order_.front();
    if (const auto found = sent_.find(key); found != sent_.end() && found->second == at)
      sent_.erase(found);
    sent_in_order_.pop_front();
  }
}

void MulticastFeed::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wanted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) break;
    const std::shared_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::string trouble;
    carry_out(*job, trouble);
    lock.lock();
    trouble_ = trouble;
    job->is_sent = trouble.empty();
    job->is_done = true;
    waiting_.erase(job->key);
    if (job->is_sent) {
      sent_[job->key] = Clock::now();
      sent_in_order_.emplace_back(job->key, sent_[job->key]);
    }
    done_.notify_all();
  }
  for (const auto& [key, job] : waiting_) job->is_done = true;
  done_.notify_all();
}

// Without the lock: nobody else looks at what it changes before it is done.
void MulticastFeed::carry_out(Job& job, std::string& trouble) {
  try {
    const ThrowIfAway throw_if_away;
    const std::uint64_t chunk = job.key.second;
    Stack stack;
    stack.version = job.version;
    std::vector<std::byte> bytes(chunk_length(chunk, job.version->size()));
    stack.read(bytes.data(), bytes.size(), chunk * chunk_size);
    const std::uint64_t before = sender_.counters().bytes;
    sender_.send(job.key.first, static_cast<std::uint32_t>(chunk), bytes);
    job.bytes = sender_.counters().bytes - before;
  } catch (const std::exception& error) {
    trouble = error.what();
  }
}

std::string MulticastFeed::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void MulticastFeed::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
}

}  // namespace plydisk
