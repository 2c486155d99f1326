// The stations that listen for requests of their server, and the requests that are under way.
//
// Thread safety: all functions from any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace plydisk {

class StationHub {
 public:
  // What identifies a listener: the image, the station's name, and its session's token.
  struct Listener {
    std::string image, station, token;
    auto operator<=>(const Listener&) const = default;
  };

  // Waits for the next request to this station; none after `limit`.
  std::optional<nlohmann::json> next(const Listener& listener, std::chrono::milliseconds limit);
  // Asks the station, and waits for its answer, {"result": …} or {"error": …}. Throws Error:
  // EHOSTUNREACH if it does not listen, with nothing done; ETIMEDOUT if it does not answer;
  // ESHUTDOWN after stop().
  nlohmann::json ask(const Listener& listener, const nlohmann::json& method,
                     const nlohmann::json& params, std::chrono::milliseconds limit);
  // The request has reached the station: it is not to be given out again.
  void arrived(const Listener& listener, std::uint64_t number);
  // What a station says to the request with this number; an unknown one is passed over.
  void answer(const Listener& listener, std::uint64_t number, nlohmann::json answer);
  // Nobody waits for an answer any more.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    nlohmann::json text;
    Clock::time_point given_out{};  // to a reader last
  };
  struct Station {
    std::deque<Request> requests;  // that have not arrived
    Clock::time_point heard;       // when it last listened
    unsigned listening = 0;
  };
  struct Question {
    Listener asked;
    bool arrived = false;
    bool lost = false;  // the station listens again, and has not answered
    std::optional<nlohmann::json> answer;
  };
  static void forget(Station& station, std::uint64_t number);

  std::mutex mutex_;  // protects all below
  std::condition_variable changed_;
  std::map<Listener, Station> stations_;
  std::map<std::uint64_t, Question> questions_;
  std::uint64_t last_number_ = 0;
  bool stopping_ = false;
};

}  // namespace plydisk
