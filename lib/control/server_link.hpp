// The station's end of the control connection to its server: see station_protocol.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backing/nbd_connection.hpp"
#include "multicast/upstream.hpp"
#include "store/upstream.hpp"

namespace plydisk {

// The URI of the control export beside this one, for a session's token. `image` may be empty for
// hello().
std::string control_uri(const std::string& uri, const std::string& image,
                        const std::string& station, const std::string& token);

// Thread safety: all functions from any thread; construction, listen() and destruction by one.
class ServerLink final : public Upstream, public MulticastUpstream {
 public:
  // Connects at each request.
  explicit ServerLink(std::string control_uri);
  ~ServerLink() override;

  // What the server has for this station. Nothing if the server is not plydisk's. Throws Error with
  // its refusal, or if it can't be reached.
  struct Hello {
    std::string station, token;       // as in the URI
    std::string secret;               // empty: none
    std::optional<unsigned> version;  // else the published one
    std::optional<WritePlan> writes;  // else what the server says
  };
  std::optional<nlohmann::json> hello(const Hello& hello);
  // Whether the server has the image with this uuid, and nothing of the session any more. False if
  // it can't be asked.
  bool has_ended(const std::string& uuid) noexcept;
  void require_may_choose(const WritePlan& plan) override;
  void redirect(const Terms& terms, bool carry) override;
  SessionState session_state() override;
  void freeze(std::uint64_t version, bool goes_on) override;
  void end_session() override;
  MulticastOffer join_multicast(const MulticastCounters& counters) override;
  void leave_multicast() override;
  std::vector<std::optional<ChunkHash>> multicast_hashes(std::uint64_t range) override;
  // Where to send what the station has of a version, as writes and zeroes. It throws as requests do
  // after stop().
  using Connection = std::shared_ptr<NbdConnection>;
  Connection connect_for_version(std::uint64_t number);
  // All of it was sent; or `failure` says why not.
  void sent(std::uint64_t version, const std::string& failure);

  // Carries out the server's requests from now on: `handler` gets the method and its params, and
  // returns the result or throws Error.
  using Handler = std::function<nlohmann::json(const std::string&, const nlohmann::json&)>;
  void listen(Handler handler);
  // Ends listening; requests that wait for an answer, and later ones, throw ESHUTDOWN.
  void stop() noexcept;

 private:
  Connection connect(const std::string& uri);
  Connection connect_to_ask();
  nlohmann::json call(const std::string& method, nlohmann::json params);
  nlohmann::json call_on(const Connection& connection, const std::string& method,
                         nlohmann::json params);
  std::string exchange(const Connection& connection, const std::string& request);
  void serve();
  void answer(const nlohmann::json& request);

  const std::string uri_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // protects the connections that there are
  std::vector<std::weak_ptr<NbdConnection>> connections_;
  Handler handler_;
  std::thread listener_;
};

}  // namespace plydisk
