// Sends chunks of versions to one group: one after the other, and each once for all who ask for it
// at about the same time.
//
// What was sent is known for a while (the terms' window): whoever asks for it then has only not
// heard it yet, and is told that it was sent. So the first one to ask waits for nobody, and those
// who come close behind cost nothing.
//
// Only what a version has is ever sent, whoever asks.
//
// Thread safety: all functions from any thread.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "multicast/sender.hpp"
#include "multicast/terms.hpp"
#include "stack/version.hpp"

namespace plydisk {

class MulticastFeed {
 public:
  // Throws Error as MulticastSender.
  explicit MulticastFeed(const MulticastTerms& terms);
  ~MulticastFeed();
  MulticastFeed(const MulticastFeed&) = delete;
  MulticastFeed& operator=(const MulticastFeed&) = delete;

  bool is_for(const MulticastTerms& terms) const { return terms_.is_sent_as(terms); }

  struct Chunks {
    StreamId stream{};
    std::shared_ptr<const Version> version;
    std::uint64_t first = 0, count = 0;
    std::chrono::milliseconds window{};
  };
  struct Result {
    bool is_sent = false;      // all of them; else who wants them is to read them
    std::uint64_t chunks = 0;  // of these, those that were sent because of this call
    std::uint64_t bytes = 0;   // in packets with their headers
  };
  // Returns when they were sent. They are not if too much is waiting to be, or if the network or a
  // server that the image comes from is away.
  Result send(const Chunks& chunks);
  // Why nothing was sent last; empty: it was.
  std::string trouble() const;
  // From now on nothing is sent, and nobody waits.
  void stop() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::pair<StreamId, std::uint64_t>;  // and the chunk
  struct Job {
    Key key;
    std::shared_ptr<const Version> version;
    bool is_done = false, is_sent = false;
    std::uint64_t bytes = 0;
  };
  void run();
  void carry_out(Job& job, std::string& trouble);
  void forget_old(Clock::time_point now, std::chrono::milliseconds window);

  const MulticastTerms terms_;
  const std::size_t most_waiting_;  // chunks
  MulticastSender sender_;
  mutable std::mutex mutex_;  // protects all below
  std::condition_variable wanted_, done_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::map<Key, std::shared_ptr<Job>> waiting_;  // in the queue, or being sent
  std::map<Key, Clock::time_point> sent_;        // lately
  std::deque<std::pair<Key, Clock::time_point>> sent_in_order_;
  std::string trouble_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace plydisk
