#include "control/methods.hpp"
#include "control/records.hpp"

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
  result["history"] = history_json(service.store().catalogue(), session.record.id);
  return result;
}

json session_end(ControlService& service, const Params& params, const Progress&) {
  const std::string session = params.text("session");
  const bool discard = params.flag("discard");
  service.store().end_session(session, discard);
  return {{"session", session}, {"discarded", discard}};
}

json redirect(ControlService& service, const Params& params, const Progress& progress) {
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
