// The server's end of multicast: who is subscribed to which stream, and what is sent to them.
//
// A station that is subscribed asks for chunks by NBD_CMD_CACHE. They are sent, once for all who
// ask at about the same time, if they read for the station as its version has them, and if the
// terms say that it pays; else the station is to read them. A subscription holds as long as the
// station renews it.
//
// Thread safety: all functions from any thread. Nobody's locks are held while something is sent.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "multicast/counters.hpp"
#include "multicast/feed.hpp"

namespace plydisk {

class Disk;

class MulticastService {
 public:
  // Of a version of an image.
  struct Stream {
    std::string image;
    unsigned version = 0;
    StreamId id{};
    MulticastTerms terms;
  };
  // A station's session, whose disk this is; or renews it. `counters`: what it says of itself.
  // Throws Error: ENOTSUP if the terms say no; what MulticastFeed throws.
  void subscribe(const std::shared_ptr<Disk>& disk, const std::string& session,
                 const Stream& stream, const MulticastCounters& counters);
  void leave(const std::string& session);

  enum class Answer { not_subscribed, sent, refused };
  // Returns when what the session has asked for was sent.
  Answer send(const Disk& disk, std::uint64_t offset, std::uint64_t length);

  struct StreamStatus {
    std::string image;
    unsigned version = 0;
    MulticastTerms terms;
    unsigned subscribers = 0;
    std::uint64_t chunks = 0, bytes = 0;  // that were sent
    std::uint64_t merged = 0;             // chunks that were asked for, and sent for others
    std::uint64_t refused = 0;            // requests
    std::string trouble;                  // why nothing was sent last; empty: it was
  };
  std::vector<StreamStatus> streams();
  struct SubscriberStatus {
    MulticastCounters counters;            // as the station said last
    std::uint64_t asked = 0, refused = 0;  // requests
    bool is_subscribed = false;            // or was, in this session
  };
  std::optional<SubscriberStatus> subscriber(const std::string& session);
  void stop() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  struct Subscriber {
    std::weak_ptr<Disk> disk;
    const Disk* address = nullptr;  // of that disk, to find it by
    StreamId stream{};
    Clock::time_point renewed;
    SubscriberStatus status;
  };
  struct StreamState {
    StreamStatus status;
    std::shared_ptr<MulticastFeed> feed;
  };
  void forget_lapsed();
  std::shared_ptr<MulticastFeed> feed_for(const MulticastTerms& terms);
  unsigned count_subscribers(const StreamId& stream) const;

  std::mutex mutex_;                               // protects all below
  std::map<std::string, Subscriber> subscribers_;  // by session
  std::map<StreamId, StreamState> streams_;
  std::vector<std::weak_ptr<MulticastFeed>> feeds_;
  bool stopping_ = false;
};

// How often a station renews its subscription.
inline constexpr std::chrono::seconds multicast_renewal{20};

}  // namespace plydisk
