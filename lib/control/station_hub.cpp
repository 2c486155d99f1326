#include "control/station_hub.hpp"

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// Between two of its reads a station does not listen.
constexpr auto between_reads = std::chrono::seconds(3);
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
  changed_.wait_for(lock, limit, [&] { return !station.requests.empty(); });
  --station.listening;
  station.heard = Clock::now();
  if (station.requests.empty()) return std::nullopt;
  json request = std::move(station.requests.front());
  station.requests.pop_front();
  return request;
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
  questions_[number] = {listener, std::nullopt};
  station->second.requests.push_back({{"id", number}, {"method", method}, {"params", params}});
  changed_.notify_all();
  Question& question = questions_[number];
  const bool answered = changed_.wait_for(lock, limit, [&] { return question.answer.has_value(); });
  const std::optional<json> answer = std::move(question.answer);
  questions_.erase(number);
  if (answered) return *answer;
  // One that was not fetched is not carried out any more.
  auto& waiting = stations_[listener].requests;
  const auto fetched =
      std::erase_if(waiting, [&](const json& request) { return request["id"] == number; }) == 0;
  throw Error(ETIMEDOUT, "station " + quote(listener.station) + " does not answer" +
                             (fetched ? "; see with \"plydisk session show\" what it has done"
                                      : ", and nothing was changed"));
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
