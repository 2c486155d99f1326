#include "store/event_log.hpp"

#include <algorithm>
#include <ctime>

#include "base/uuid.hpp"

namespace plydisk {

const char* to_string(Topic topic) {
  constexpr std::array<const char*, topic_count> names{"parameters", "images", "stations",
                                                       "sessions", "layers"};
  return names[static_cast<std::size_t>(topic)];
}

EventLog::EventLog() : id_(random_hex(8)) {}
EventLog::~EventLog() = default;

void EventLog::add(Topic topic, std::string event, std::string name, std::string detail) {
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t number = ++numbers_.newest;
    numbers_.of_topic[static_cast<std::size_t>(topic)] = number;
    events_.push_back(
        {number, std::time(nullptr), topic, std::move(event), std::move(name), std::move(detail)});
    if (events_.size() > most_kept) events_.pop_front();
  }
  added_.notify_all();
}

EventLog::Numbers EventLog::numbers() const {
  const std::lock_guard lock(mutex_);
  return numbers_;
}

std::vector<Event> EventLog::since(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const auto first = std::find_if(events_.begin(), events_.end(),
                                  [&](const Event& event) { return event.number > number; });
  return {first, events_.end()};
}

void EventLog::wait(std::uint64_t number, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  added_.wait_for(lock, timeout, [&] { return stopped_ || numbers_.newest > number; });
}

void EventLog::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  added_.notify_all();
}

}  // namespace plydisk
