#include "control/methods.hpp"
#include "control/records.hpp"
#include "store/names.hpp"

namespace plydisk::methods {

json session_list(ControlService& service, const Params&, const Progress&) {
  json sessions = json::array();
  for (const SessionStatus& session : service.store().sessions())
    sessions.push_back(session_json(session));
  return sessions;
}

json session_show(ControlService& service, const Params& params, const Progress&) {
  const SessionStatus session = service.store().session(params.text("session"));
  json result = session_json(session);
  result["multicast"] = multicast_of(service, session.record.id);
  result["history"] = history_json(service.store().catalogue(), session.record.id);
  return result;
}

namespace {

constexpr std::chrono::seconds end_limit{5};
// Copying what a station has to the server takes time.
constexpr std::chrono::minutes station_limit{30};

// The connections of a session that has ended stay as they are, so its station would find out only
// when it needs them.
void tell_of_end(ControlService& service, const SessionRecord& session) {
  if (service.stations() == nullptr || session.token.empty() || session.ended != 0) return;
  try {
    service.stations()->ask({session.image, session.station, session.token}, "ended",
                            json::object(), end_limit);
  } catch (const Error&) {
    // It is away, and is told when it is back.
  }
}

}  // namespace

json session_end(ControlService& service, const Params& params, const Progress&) {
  const std::string session = params.text("session");
  const bool discard = params.flag("discard");
  std::optional<SessionRecord> record;
  try {
    record = service.store().session(session).record;
  } catch (const Error&) {
    // That is told below.
  }
  service.store().end_session(session, discard);
  if (record) tell_of_end(service, *record);
  return {{"session", session}, {"discarded", discard}};
}

json ask_station(ControlService& service, const SessionRecord& session, const char* method,
                 const json& params) {
  const json answer = service.stations()->ask({session.image, session.station, session.token},
                                              method, params, station_limit);
  if (!answer.contains("error")) return answer.value("result", json::object());
  const json& error = answer["error"];
  const std::string who = "station " + quote(session.station);
  const std::string said = error.value("message", "");
  // What it was told by this server itself begins with its name.
  throw Error(error.value("/data/errno"_json_pointer, EIO),
              said.starts_with(who) ? said : who + " says: " + said);
}

namespace {

// A session whose station has layers of its own is redirected there, which tells the server. Null
// for another session.
json redirect_at_station(ControlService& service, const Params& params) {
  if (service.stations() == nullptr) return nullptr;
  const SessionStatus session = service.store().session(params.text("session"));
  if (session.record.token.empty() || session.record.ended != 0) return nullptr;
  json result = ask_station(service, session.record, "redirect",
                            {{"writes", to_string(WritePlan(params.text("writes")))},
                             {"carry", params.flag("carry")},
                             {"force", params.flag("force")}});
  result["session"] = session.record.id;
  return result;
}

}  // namespace

json redirect(ControlService& service, const Params& params, const Progress& progress) {
  if (json result = redirect_at_station(service, params); !result.is_null()) return result;
  RedirectOptions options;
  options.carry = params.flag("carry");
  options.force = params.flag("force");
  const RedirectResult result = service.store().redirect(
      params.text("session"), WritePlan(params.text("writes")), options, progress);
  return {{"session", result.session},  {"from", to_string(result.from)},
          {"to", to_string(result.to)}, {"pause_ms", result.pause_ms},
          {"carried", result.carried},  {"survives", result.survives}};
}

}  // namespace plydisk::methods
