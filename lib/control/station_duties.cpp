#include "control/station_duties.hpp"

#include "base/error.hpp"
#include "control/params.hpp"
#include "control/service.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

// A station's store has one.
std::string StationDuties::session() const {
  const auto stations = service_.store().catalogue().stations();
  if (stations.empty()) throw Error(ENOENT, "the station has no disk");
  return stations.front().name;
}

json StationDuties::carry_out(const std::string& method, json params) {
  if (method == "ended") {
    service_.store().look_for_servers();
    return json::object();
  }
  if (method == "redirect") {
    params["session"] = session();
    return service_.call("redirect", params);
  }
  if (method == "multicast") {
    const std::string action = Params(method, params, {"action"}).text("action");
    for (const char* known : {"join", "leave", "status"})
      if (action == known) return service_.call("multicast." + action, json::object());
  }
  if (method == "version") return send_version(params);
  throw Error(ENOSYS, "the station has no method " + quote(method));
}

json StationDuties::send_version(const json& given) {
  const Params params("version", given, {"number"});
  const std::uint64_t number = params.number("number");
  OwnLayers own = service_.store().freeze_own_layers(session(), number);
  const std::uint64_t bytes = own.bytes;
  sender_.start(number, std::move(own));
  return {{"bytes", bytes}};
}

}  // namespace plydisk
