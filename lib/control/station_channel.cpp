#include "control/station_channel.hpp"

#include <algorithm>
#include <cstring>

#include "base/hex.hpp"
#include "base/uuid.hpp"
#include "control/params.hpp"
#include "control/protocol.hpp"
#include "control/station_protocol.hpp"
#include "multicast/upstream.hpp"
#include "stack/disk.hpp"

namespace plydisk {

using nlohmann::json;
using namespace station_protocol;

namespace {

// The server can't end as long as one waits.
constexpr auto event_limit = std::chrono::seconds(1);

constexpr int deepest = 8;  // that the values of a request are nested

ExportName parse_control_name(std::string_view text) {
  ExportName name = parse_export_name(text.substr(control_prefix.size()));
  if (!name.station || !name.session)
    throw Error(EINVAL, "a control connection is to \".control/IMAGE@STATION+TOKEN\", not to " +
                            quote(text));
  return name;
}

// What a station says of itself is its word, and only shown.
MulticastCounters counters_of(const json& params) {
  MulticastCounters counters;
  if (!params.contains("counters") || !params["counters"].is_object()) return counters;
  for (const auto& [name, field] : MulticastCounters::fields)
    if (const auto found = params["counters"].find(name);
        found != params["counters"].end() && found->is_number_unsigned())
      counters.*field = found->get<std::uint64_t>();
  return counters;
}

}  // namespace

StationChannel::StationChannel(Store& store, StationHub& hub, MulticastService* multicast,
                               std::string_view export_name, Peer peer, Log log)
    : store_(store),
      hub_(hub),
      multicast_(multicast),
      name_(parse_control_name(export_name)),
      peer_(std::move(peer)),
      log_(std::move(log)),
      answer_(banner) {}

std::uint64_t StationChannel::size() const { return station_protocol::size; }

void StationChannel::write(const void* data, std::size_t length, std::uint64_t offset) {
  if (offset != 0 || length > longest_message)
    throw Error(EINVAL, "a request is at most 64 KiB long, and written at 0");
  const auto* const text = static_cast<const char*>(data);
  // Hostile text may be nested as deep as it is long, and copying it recurses.
  const auto is_shallow = [](int depth, json::parse_event_t, json&) { return depth <= deepest; };
  const json request = json::parse(text, text + ::strnlen(text, length), is_shallow, false);
  std::string answer;
  try {
    if (!request.is_object() || !request.contains("method") || !request["method"].is_string())
      throw RpcError(rpc_code::invalid_request, EINVAL, "a request is an object with a method");
    answer = to_line({{"jsonrpc", "2.0"}, {"id", nullptr}, {"result", carry_out(request)}});
  } catch (...) {
    const json error = current_error_json();
    if (error["data"]["errno"] == EACCES)
      log_("refused from " + peer_.address + ": " + error["message"].get<std::string>());
    answer = to_line(error_answer(nullptr, error));
  }
  const std::lock_guard lock(mutex_);
  answer_ = answer;
}

void StationChannel::read(void* buffer, std::size_t length, std::uint64_t offset) {
  if (offset == event_offset) {
    const auto request = hub_.next(listener(), event_limit);
    const std::lock_guard lock(mutex_);
    event_ = request ? to_line(*request) : "";
  }
  const std::lock_guard lock(mutex_);
  if (offset == hashes_offset) {
    const std::size_t count = std::min(length, hashes_.size());
    std::copy_n(hashes_.begin(), count, static_cast<std::byte*>(buffer));
    std::memset(static_cast<char*>(buffer) + count, 0, length - count);
    return;
  }
  const bool is_event = offset >= event_offset;
  const std::string& text = is_event ? event_ : answer_;
  const std::uint64_t begin =
      std::min<std::uint64_t>(offset - (is_event ? event_offset : 0), text.size());
  const std::size_t count = std::min<std::size_t>(length, text.size() - begin);
  std::memcpy(buffer, text.data() + begin, count);
  std::memset(static_cast<char*>(buffer) + count, 0, length - count);
}

json StationChannel::carry_out(const json& request) {
  static const json none = json::object();
  const json& params = request.contains("params") ? request["params"] : none;
  const std::string& method = request["method"].get_ref<const std::string&>();
  if (method == "challenge") return challenge(params);
  if (method == "hello") return hello(params);
  if (method == "ended") return ended(params);
  if (method == "may") return may(params);
  if (method == "state") return state(params);
  if (method == "redirect") return redirect(params);
  if (method == "freeze") return freeze(params);
  if (method == "sent") return sent(params);
  if (method == "end") return end(params);
  if (method == "join") return join(params);
  if (method == "leave") return leave(params);
  if (method == "hashes") return hashes(params);
  if (method == "answer") return take_answer(params);
  throw RpcError(rpc_code::unknown_method, ENOSYS, "stations have no method " + quote(method));
}

json StationChannel::hello(const json& given) {
  const Params params("hello", given, {"version", "writes", "proof"});
  ExportName name = name_;
  if (given.contains("version") && given["version"].is_number_unsigned())
    name.version = given["version"].get<unsigned>();
  Introduction introduction;
  introduction.writes = params.write_plan("writes");
  {
    const std::lock_guard lock(mutex_);
    if (!nonce_.empty()) {
      introduction.proof = params.optional_text("proof").value_or("");
      introduction.message = proof_message(nonce_, *name_.station, *name_.session);
      nonce_.clear();
    }
  }
  const Greeting greeting = store_.greet(name, peer_, introduction);
  return {{"station", greeting.station},
          {"image", greeting.image.name},
          {"uuid", greeting.image.uuid},
          {"version", greeting.version},
          {"size", greeting.image.size},
          {"writes", to_string(greeting.plan)},
          {"foundation", to_string(greeting.foundation)},
          {"on_station", greeting.on_station}};
}

json StationChannel::challenge(const json& given) {
  const Params params("challenge", given, {});
  const auto recipe = store_.secret_recipe(name_, peer_);
  if (!recipe) return {{"recipe", nullptr}, {"nonce", nullptr}};
  const std::lock_guard lock(mutex_);
  nonce_ = random_hex(32);
  return {{"recipe", *recipe}, {"nonce", nonce_}};
}

json StationChannel::ended(const json& given) {
  const Params params("ended", given, {"uuid"});
  return {{"ended", store_.has_ended(name_, params.text("uuid"))}};
}

json StationChannel::may(const json& given) {
  const Params params("may", given, {"writes"});
  store_.require_may_choose(name_, peer_, WritePlan(params.text("writes")));
  return json::object();
}

json StationChannel::state(const json& given) {
  const Params params("state", given, {});
  const StationSession session = store_.session_with_token(name_, peer_);
  return {{"writes", to_string(session.status.record.writes)},
          {"survives", session.status.persistent},
          {"has_volatile", session.has_volatile},
          {"is_attached", session.is_attached},
          {"writer", session.writer},
          {"foundation", to_string(session.foundation)},
          {"image", session.image_uuid}};
}

json StationChannel::redirect(const json& given) {
  const Params params("redirect", given,
                      {"writes", "above_volatile", "on_station", "writer", "carry"});
  const std::string id = store_.session_with_token(name_, peer_).status.record.id;
  RedirectOptions options;
  options.by_station = true;
  options.above_volatile = params.flag("above_volatile");
  options.on_station = params.flag("on_station");
  options.writer = params.text("writer");
  require_valid_name("session", options.writer);
  options.carry = params.flag("carry");
  const RedirectResult result = store_.redirect(id, parse_destination(params.text("writes")),
                                                options, [](std::uint64_t, std::uint64_t) {});
  return {{"writes", to_string(result.to)}};
}

json StationChannel::freeze(const json& given) {
  const Params params("freeze", given, {"number", "goes_on"});
  store_.freeze_for_station(name_, peer_, params.number("number"), params.flag("goes_on"));
  return json::object();
}

json StationChannel::sent(const json& given) {
  const Params params("sent", given, {"number", "error"});
  const auto upload = store_.version_upload(name_, peer_, params.number("number"));
  if (const auto failure = params.optional_text("error"))
    upload->fail(EIO, "station " + quote(*name_.station) + " says: " + *failure);
  else
    upload->end();
  return json::object();
}

json StationChannel::end(const json& given) {
  const Params params("end", given, {});
  std::string id;
  try {
    id = store_.session_with_token(name_, peer_).status.record.id;
  } catch (const Error& error) {
    // After a new start the catalogue alone has it, until its disk is back.
    const auto waiting = store_.catalogue().session_of(*name_.station, name_.image);
    if (error.code() != ENOENT || !waiting || waiting->ended != 0 ||
        waiting->token != *name_.session)
      throw;
    id = waiting->id;
  }
  store_.end_session(id, false);
  return json::object();
}

json StationChannel::join(const json& given) {
  const Params params("join", given, {"counters"});
  if (multicast_ == nullptr) throw Error(ENOTSUP, "this server has no multicast");
  const StationSession session = store_.session_with_token(name_, peer_);
  const SessionRecord& record = session.status.record;
  const std::string what =
      "version " + std::to_string(record.version) + " of image " + quote(record.image);
  const MulticastService::Stream stream{record.image, record.version,
                                        stream_id(session.image_uuid, record.version),
                                        store_.catalogue().multicast_terms(record.image)};
  if (store_.catalogue().version(record.image, record.version).state == "open")
    throw Error(ENOTSUP, what + " is open, and no other station reads it");
  const auto known = multicast_->subscriber(record.id);
  if (stream.terms.use != MulticastTerms::Use::no && !(known && known->is_subscribed)) {
    const auto some = store_.chunk_hashes(record.image, record.version, 0, hash_range_chunks);
    if (std::ranges::none_of(some, [](const auto& hash) { return hash.has_value(); }))
      throw Error(ENOTSUP, what + " has no hashes; make them with: plydisk version verify " +
                               record.image + " " + std::to_string(record.version));
  }
  const auto disk = session.disk.lock();
  if (!disk) throw Error(ESHUTDOWN, "the session has ended");
  multicast_->subscribe(disk, record.id, stream, counters_of(given));
  const MulticastTerms& terms = stream.terms;
  return {{"group", terms.group.address},
          {"port", terms.group.port},
          {"interface", terms.group.interface},
          {"stream",
           to_hex({reinterpret_cast<const unsigned char*>(stream.id.data()), stream.id.size()})},
          {"size", disk->size()},
          {"timeout", terms.timeout.count()},
          {"memory", terms.memory}};
}

json StationChannel::leave(const json& given) {
  const Params params("leave", given, {});
  if (multicast_ != nullptr)
    multicast_->leave(store_.session_with_token(name_, peer_).status.record.id);
  return json::object();
}

json StationChannel::hashes(const json& given) {
  const Params params("hashes", given, {"range"});
  const std::uint64_t range = params.number("range");
  const StationSession session = store_.session_with_token(name_, peer_);
  const SessionRecord& record = session.status.record;
  const auto disk = session.disk.lock();
  if (!disk) throw Error(ESHUTDOWN, "the session has ended");
  if (range > chunk_count(disk->size()) / hash_range_chunks)
    throw Error(EINVAL, "the disk has no such chunks");
  const std::uint64_t first = range * hash_range_chunks;
  auto known = store_.chunk_hashes(record.image, record.version, first, hash_range_chunks);
  // What the session itself has written there reads otherwise.
  const Stack stack = disk->stack();
  const bool is_direct = disk->was_direct();
  std::vector<std::byte> has, all;
  for (std::size_t i = 0; i < known.size(); ++i) {
    const bool is_shared = known[i] && !is_direct && stack.is_untouched(first + i, 1);
    has.push_back(static_cast<std::byte>(is_shared));
    if (is_shared) all.insert(all.end(), known[i]->begin(), known[i]->end());
  }
  has.insert(has.end(), all.begin(), all.end());
  const std::lock_guard lock(mutex_);
  hashes_ = std::move(has);
  return {{"chunks", known.size()}};
}

json StationChannel::take_answer(const json& given) {
  const Params params("answer", given, {"to", "result", "error"});
  if (!given.contains("to") || !given["to"].is_number_unsigned())
    throw RpcError(rpc_code::invalid_params, EINVAL, "answer: the field \"to\" is a number");
  json answer = json::object();
  for (const char* field : {"result", "error"})
    if (given.contains(field)) answer[field] = given[field];
  const auto number = given["to"].get<std::uint64_t>();
  answer.empty() ? hub_.arrived(listener(), number) : hub_.answer(listener(), number, answer);
  return json::object();
}

}  // namespace plydisk
