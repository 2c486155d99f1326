#include "control/methods.hpp"
#include "control/records.hpp"
#include "multicast/service.hpp"
#include "multicast/station.hpp"

namespace plydisk::methods {

namespace {

json counters_json(const MulticastCounters& counters) {
  json result = json::object();
  for (const auto& [name, field] : MulticastCounters::fields) result[name] = counters.*field;
  return result;
}

json station_status_json(const MulticastBacking::Status& status) {
  const MulticastOffer& offer = status.offer;
  const auto if_joined = [&](const json& value) {
    return status.is_joined ? value : json(nullptr);
  };
  return {{"wanted", status.is_wanted},
          {"joined", status.is_joined},
          {"silent", status.is_silent},
          {"reason", status.reason.empty() ? json(nullptr) : json(status.reason)},
          {"group", if_joined(offer.group.address)},
          {"port", if_joined(offer.group.port)},
          {"interface", if_joined(status.interface)},
          {"hash_ranges", status.hash_ranges},
          {"bytes_kept", status.bytes_kept},
          {"counters", counters_json(status.counters)}};
}

json session_status_json(MulticastService& service, const std::string& session) {
  const auto status = service.subscriber(session);
  if (!status) return nullptr;
  return {{"joined", status->is_subscribed},
          {"requests", status->asked},
          {"requests_refused", status->refused},
          {"counters", counters_json(status->counters)}};
}

// At the server, the session's station is asked to do it; at a station, this one does.
json at_station(ControlService& service, const Params& params, const char* action) {
  const auto session = params.optional_text("session");
  if (MulticastStation* const station = service.multicast().station) {
    if (std::string_view(action) == "join") return station_status_json(station->join());
    if (std::string_view(action) == "leave") return station_status_json(station->leave());
    return station_status_json(station->status());
  }
  if (!session) params.refuse("the field \"session\" is missing");
  const SessionStatus status = service.store().session(*session);
  if (service.stations() == nullptr || status.record.token.empty() || status.record.ended != 0)
    throw Error(ENOTSUP, "session " + status.record.id +
                             " is no live one of a disk that plydisk attach has attached, and only "
                             "those take part in multicast");
  return ask_station(service, status.record, "multicast", {{"action", action}});
}

}  // namespace

json multicast_streams(ControlService& service) {
  json streams = json::array();
  if (service.multicast().service == nullptr) return streams;
  for (const auto& stream : service.multicast().service->streams())
    streams.push_back({{"image", stream.image},
                       {"version", stream.version},
                       {"group", stream.terms.group.address},
                       {"port", stream.terms.group.port},
                       {"stations", stream.subscribers},
                       {"chunks", stream.chunks},
                       {"bytes", stream.bytes},
                       {"merged", stream.merged},
                       {"refused", stream.refused},
                       {"trouble", stream.trouble.empty() ? json(nullptr) : json(stream.trouble)}});
  return streams;
}

json multicast_of(ControlService& service, const std::string& session) {
  const auto& [server, station] = service.multicast();
  if (server != nullptr) return session_status_json(*server, session);
  if (station == nullptr) return nullptr;
  try {
    return station_status_json(station->status());
  } catch (const Error&) {
    return nullptr;  // its disk is no server's, or has ended
  }
}

json multicast_join(ControlService& service, const Params& params, const Progress&) {
  return at_station(service, params, "join");
}

json multicast_leave(ControlService& service, const Params& params, const Progress&) {
  return at_station(service, params, "leave");
}

json multicast_status(ControlService& service, const Params& params, const Progress&) {
  if (service.multicast().station == nullptr && !params.has("session"))
    return {{"streams", multicast_streams(service)}};
  return at_station(service, params, "status");
}

}  // namespace plydisk::methods
