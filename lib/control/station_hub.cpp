#include "control/station_hub.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// Between two of its reads a station does not listen.
constexpr auto between_reads = std::chrono::seconds(3);
// A request that has not arrived after so long is given out again.
constexpr auto arrival_limit = std::chrono::seconds(2);
constexpr auto unreachable_limit = std::chrono::seconds(15);
constexpr auto forgotten = std::chrono::minutes(1);

}  // namespace

std::optional<json> StationHub::next(const Listener& listener, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  std::erase_if(stations_, [](const auto& entry) {
    const Station& station = entry.second;
    return station.listening == 0 && Clock::now() - station.heard > forgotten;
  });
  // Not erased by others while it listens.
  Station& station = stations_[listener];
  ++station.listening;
  // It does one thing after the other, so an engine that began anew has lost what it was asked.
  for (auto& [number, question] : questions_)
    if (question.asked == listener && question.arrived && !question.answer) question.lost = true;
  changed_.notify_all();
  Request* found = nullptr;
  const auto find = [&] {
    const auto due = std::find_if(station.requests.begin(), station.requests.end(), [](auto& one) {
      return Clock::now() - one.given_out > arrival_limit;
    });
    found = due == station.requests.end() ? nullptr : &*due;
    return found != nullptr || stopping_;
  };
  changed_.wait_for(lock, limit, find);
  --station.listening;
  station.heard = Clock::now();
  if (found == nullptr) return std::nullopt;
  found->given_out = Clock::now();
  return found->text;
}

void StationHub::forget(Station& station, std::uint64_t number) {
  std::erase_if(station.requests, [&](const Request& one) { return one.text["id"] == number; });
}

json StationHub::ask(const Listener& listener, const json& method, const json& params,
                     std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const auto station = stations_.find(listener);
  if (station == stations_.end() ||
      (station->second.listening == 0 && Clock::now() - station->second.heard > between_reads))
    throw Error(EHOSTUNREACH, "station " + quote(listener.station) +
                                  " can't be reached, and nothing was changed; try again when it "
                                  "is back");
  const std::uint64_t number = ++last_number_;
  Question& question = questions_[number];
  question.asked = listener;
  const json request{{"id", number}, {"method", method}, {"params", params}};
  station->second.requests.push_back({request});
  changed_.notify_all();
  const bool arrived = changed_.wait_for(
      lock, unreachable_limit, [&] { return question.arrived || question.answer || stopping_; });
  if (arrived)
    changed_.wait_for(lock, limit,
                      [&] { return question.answer.has_value() || question.lost || stopping_; });
  const std::optional<json> answer = std::move(question.answer);
  const bool may_have_run = question.arrived, question_lost = question.lost;
  questions_.erase(number);
  forget(stations_[listener], number);
  if (answer) return *answer;
  if (stopping_) throw Error(ESHUTDOWN, "the server is stopping");
  if (question_lost)
    throw Error(ECONNRESET, "station " + quote(listener.station) +
                                " began anew before it answered; see with \"plydisk session show\" "
                                "what it has done");
  throw Error(ETIMEDOUT,
              "station " + quote(listener.station) + " does not answer" +
                  (may_have_run ? "; see with \"plydisk session show\" what it has done"
                                : ", and nothing was changed; try again when it is back"));
}

void StationHub::arrived(const Listener& listener, std::uint64_t number) {
  {
    const std::lock_guard lock(mutex_);
    forget(stations_[listener], number);
    const auto question = questions_.find(number);
    if (question == questions_.end() || question->second.asked != listener)
      throw Error(ESTALE, "nobody waits for this request any more");
    question->second.arrived = true;
  }
  changed_.notify_all();
}

void StationHub::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void StationHub::answer(const Listener& listener, std::uint64_t number, json answer) {
  {
    const std::lock_guard lock(mutex_);
    const auto question = questions_.find(number);
    if (question == questions_.end() || question->second.asked != listener) return;
    question->second.answer = std::move(answer);
  }
  changed_.notify_all();
}

}  // namespace plydisk
