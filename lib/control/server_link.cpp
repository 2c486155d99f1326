#include "control/server_link.hpp"

#include <condition_variable>
#include <cstring>
#include <vector>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/hex.hpp"
#include "base/secret.hpp"
#include "control/protocol.hpp"
#include "control/station_protocol.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;
using namespace station_protocol;

namespace {

constexpr auto connect_limit = std::chrono::seconds(5);
constexpr auto answer_limit = std::chrono::seconds(10);
constexpr auto between_tries = std::chrono::milliseconds(500);

// Drops a connection on which there is no answer in time. What takes long for good reasons, such as
// carrying writes, has no limit.
class Deadline {
 public:
  Deadline(std::weak_ptr<NbdConnection> connection, std::chrono::milliseconds limit)
      : timer_([this, connection = std::move(connection), limit] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_for(lock, limit, [this] { return is_over_; })) return;
          if (const auto late = connection.lock()) late->drop();
        }) {}
  ~Deadline() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    ended_.notify_one();
    timer_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_over_ = false;
  std::thread timer_;  // the last: it uses the others
};

[[noreturn]] void throw_lost() {
  throw Error(ESHUTDOWN, "the server went away before it answered; try again when it is back");
}

std::string read_text(NbdConnection& connection, std::uint64_t offset) {
  std::string text;
  const auto read_on = [&](std::size_t length) {
    const std::size_t begin = text.size();
    text.resize(length);
    const int error = connection.read(text.data() + begin, length - begin, offset + begin);
    if (error == NbdConnection::lost) throw_lost();
    if (error != 0) throw_errno(error, "the server's control connection");
    const auto end = text.find('\0', begin);
    if (end != text.npos) text.resize(end);
    return end != text.npos;
  };
  if (!read_on(usual_message)) read_on(longest_message);
  return text;
}

}  // namespace

std::string control_uri(const std::string& uri, const std::string& image,
                        const std::string& station, const std::string& token) {
  return with_export(uri, std::string(control_prefix) + image + "@" + station + "+" + token);
}

ServerLink::ServerLink(std::string control_uri) : uri_(std::move(control_uri)) {}

ServerLink::~ServerLink() {
  stop();
  if (listener_.joinable()) listener_.join();
}

ServerLink::Connection ServerLink::connect(const std::string& uri) {
  const auto require_going = [this] {
    if (stopping_.load()) throw Error(ESHUTDOWN, "the server is not asked any more");
  };
  require_going();
  auto connection = std::make_shared<NbdConnection>(uri, connect_limit);
  const std::lock_guard lock(mutex_);
  require_going();
  std::erase_if(connections_, [](const auto& other) { return other.expired(); });
  connections_.push_back(connection);
  return connection;
}

std::string ServerLink::exchange(const Connection& connection, const std::string& request) {
  std::vector<std::byte> bytes(request.size() + 1);
  std::memcpy(bytes.data(), request.data(), request.size());
  const int error = connection->write({0, bytes.size(), bytes.data(), false});
  if (error == NbdConnection::lost) throw_lost();
  if (error != 0) throw_errno(error, "the server's control connection");
  return read_text(*connection, 0);
}

ServerLink::Connection ServerLink::connect_to_ask() {
  try {
    return connect(uri_);
  } catch (const Error& error) {
    throw Error(ESHUTDOWN, error.what());
  }
}

json ServerLink::call(const std::string& method, json params) {
  return call_on(connect_to_ask(), method, std::move(params));
}

json ServerLink::call_on(const Connection& connection, const std::string& method, json params) {
  std::optional<Deadline> deadline;
  if (method != "redirect" && method != "end") deadline.emplace(connection, answer_limit);
  const json answer = json::parse(
      exchange(connection, to_line({{"jsonrpc", "2.0"}, {"method", method}, {"params", params}})),
      nullptr, false);
  if (answer.is_object() && answer.contains("result")) return answer["result"];
  if (!answer.is_object() || !answer.contains("error"))
    throw Error(EPROTO, "the server's answer is not understood");
  const json& error = answer["error"];
  throw Error(error.value("/data/errno"_json_pointer, EPROTO),
              error.value("message", "the server's answer is not understood"));
}

std::optional<json> ServerLink::hello(const Hello& hello) {
  Connection connection;
  try {
    // One that does not know the name, or anything of control connections.
    connection = connect(uri_);
    if (read_text(*connection, 0) != banner) return std::nullopt;
  } catch (const Error& error) {
    for (const int away : {ECONNREFUSED, ETIMEDOUT, ECONNRESET, EPIPE, EHOSTUNREACH, ENETUNREACH,
                           ENETDOWN, ENOTCONN, ESHUTDOWN, EAGAIN, ENOMEM, EMFILE})
      if (error.code() == away) throw;
    return std::nullopt;
  }
  json params = json::object();
  if (hello.version) params["version"] = *hello.version;
  if (hello.writes) params["writes"] = to_string(*hello.writes);
  if (!hello.secret.empty()) {
    const json challenge = call_on(connection, "challenge", json::object());
    if (!challenge.at("recipe").is_null())
      params["proof"] = prove(
          hello.secret, challenge["recipe"].get<std::string>(),
          proof_message(challenge.at("nonce").get<std::string>(), hello.station, hello.token));
  }
  return call_on(connection, "hello", params);
}

bool ServerLink::has_ended(const std::string& uuid) noexcept {
  try {
    return call("ended", {{"uuid", uuid}}).value("ended", false);
  } catch (const std::exception&) {
    return false;
  }
}

void ServerLink::require_may_choose(const WritePlan& plan) {
  call("may", {{"writes", to_string(plan)}});
}

void ServerLink::redirect(const Terms& terms, bool carry) {
  call("redirect", {{"writes", to_string(terms.writes)},
                    {"above_volatile", terms.above_volatile},
                    {"on_station", terms.on_station},
                    {"writer", terms.writer},
                    {"carry", carry}});
}

Upstream::SessionState ServerLink::session_state() {
  const json state = call("state", json::object());
  return {parse_destination(state.at("writes").get<std::string>()),
          state.at("survives").get<bool>(),
          state.at("has_volatile").get<bool>(),
          state.at("is_attached").get<bool>(),
          state.at("writer").get<std::string>(),
          parse_foundation(state.at("foundation").get<std::string>()),
          state.at("image").get<std::string>()};
}

void ServerLink::freeze(std::uint64_t version, bool goes_on) {
  call("freeze", {{"number", version}, {"goes_on", goes_on}});
}

ServerLink::Connection ServerLink::connect_for_version(std::uint64_t number) {
  const std::string name = export_of(uri_).substr(control_prefix.size());
  return connect(
      with_export(uri_, std::string(upload_prefix) + name + "." + std::to_string(number)));
}

void ServerLink::sent(std::uint64_t version, const std::string& failure) {
  json params{{"number", version}};
  if (!failure.empty()) params["error"] = failure;
  call("sent", params);
}

void ServerLink::end_session() { call("end", json::object()); }

MulticastOffer ServerLink::join_multicast(const MulticastCounters& counters) {
  json said = json::object();
  for (const auto& [name, field] : MulticastCounters::fields) said[name] = counters.*field;
  const json answer = call("join", {{"counters", said}});
  MulticastOffer offer;
  offer.group.address = answer.at("group").get<std::string>();
  offer.group.port = answer.at("port").get<std::uint16_t>();
  offer.group.interface = answer.at("interface").get<std::string>();
  const auto stream = from_hex(answer.at("stream").get<std::string>());
  if (!stream || stream->size() != offer.stream.size())
    throw Error(EPROTO, "the server's answer is not understood");
  std::memcpy(offer.stream.data(), stream->data(), stream->size());
  offer.disk_size = answer.at("size").get<std::uint64_t>();
  offer.timeout = std::chrono::seconds(answer.at("timeout").get<unsigned>());
  offer.memory = answer.at("memory").get<std::uint64_t>();
  return offer;
}

void ServerLink::leave_multicast() { call("leave", json::object()); }

std::vector<std::optional<ChunkHash>> ServerLink::multicast_hashes(std::uint64_t range) {
  const Connection connection = connect_to_ask();
  const auto chunks =
      call_on(connection, "hashes", {{"range", range}}).at("chunks").get<std::size_t>();
  if (chunks > hash_range_chunks) throw Error(EPROTO, "the server gives too many hashes");
  std::vector<std::optional<ChunkHash>> hashes(chunks);
  if (chunks == 0) return hashes;
  std::vector<std::byte> bytes(chunks * (1 + sizeof(ChunkHash)));
  const Deadline deadline(connection, answer_limit);
  const int error = connection->read(bytes.data(), bytes.size(), hashes_offset);
  if (error == NbdConnection::lost) throw_lost();
  if (error != 0) throw_errno(error, "the server's control connection");
  const std::byte* at = bytes.data() + chunks;
  for (std::size_t i = 0; i < chunks; ++i) {
    if (bytes[i] == std::byte{0}) continue;
    ChunkHash& hash = hashes[i].emplace();
    std::copy_n(at, hash.size(), hash.begin());
    at += hash.size();
  }
  return hashes;
}

void ServerLink::listen(Handler handler) {
  handler_ = std::move(handler);
  listener_ = std::thread([this] { serve(); });
}

void ServerLink::stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopping_.store(true);
  for (const auto& weak : connections_)
    if (const auto connection = weak.lock()) connection->drop();
}

void ServerLink::serve() {
  while (!stopping_.load()) {
    try {
      const Connection connection = connect(uri_);
      while (!stopping_.load()) {
        const std::string text = read_text(*connection, event_offset);
        if (!text.empty()) answer(json::parse(text));
      }
    } catch (const std::exception&) {
      // It is away, as the disk's own connections find, too.
    }
    for (auto waited = between_tries * 0; waited < between_tries && !stopping_.load();
         waited += std::chrono::milliseconds(50))
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void ServerLink::answer(const json& request) {
  json params{{"to", request.at("id")}};
  call("answer", params);  // it has arrived
  try {
    params["result"] = handler_(request.at("method").get<std::string>(), request.at("params"));
  } catch (...) {
    params["error"] = current_error_json();
  }
  call("answer", params);
}

}  // namespace plydisk
