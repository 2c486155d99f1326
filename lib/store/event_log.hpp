// What has happened to a store, for those who follow it: numbered events, the newest some thousands
// in memory, from when the store was opened.
//
// Thread safety: all functions from any thread.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace plydisk {

// Of what kind of thing an event tells; to_string() has the plural of a folder's name.
enum class Topic { parameters, images, stations, sessions, layers };
inline constexpr std::array all_topics{Topic::parameters, Topic::images, Topic::stations,
                                       Topic::sessions, Topic::layers};
inline constexpr std::size_t topic_count = all_topics.size();
const char* to_string(Topic topic);

struct Event {
  std::uint64_t number = 0;  // from 1, without gaps
  std::int64_t at = 0;       // seconds since 1970
  Topic topic = Topic::parameters;
  std::string event;  // "added", "changed", "removed", "redirected", …
  std::string name;   // of what it happened to
  std::string detail;
};

class EventLog {
 public:
  static constexpr std::size_t most_kept = 4096;

  EventLog();
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  // A new one for each log: numbers of another one mean nothing here.
  const std::string& id() const noexcept { return id_; }

  void add(Topic topic, std::string event, std::string name, std::string detail = {});

  // The number of the newest event of all, and of each topic; 0: none yet.
  struct Numbers {
    std::uint64_t newest = 0;
    std::array<std::uint64_t, topic_count> of_topic{};
  };
  Numbers numbers() const;
  // The events behind this number that are still kept, oldest first.
  std::vector<Event> since(std::uint64_t number) const;
  // Returns when there is one behind this number, when the time is over, or on stop().
  void wait(std::uint64_t number, std::chrono::milliseconds timeout) const;
  // From now on nobody waits.
  void stop();

 private:
  const std::string id_;
  mutable std::mutex mutex_;  // protects all below
  mutable std::condition_variable added_;
  std::deque<Event> events_;
  Numbers numbers_;
  bool stopped_ = false;
};

}  // namespace plydisk
