#include <ctime>

#include "base/secret.hpp"
#include "control/methods.hpp"
#include "control/records.hpp"

namespace plydisk::methods {

namespace {

// Takes over the fields that are given; null clears one.
void apply(const Params& params, StationRecord& station) {
  if (params.has("image")) station.image = params.optional_text("image");
  if (params.has("writes")) station.writes = params.write_plan("writes");
  if (params.has("destinations")) station.destinations = params.write_plan("destinations");
  if (params.has("secret")) {
    const auto secret = params.optional_text("secret");
    if (secret) require_valid_secret(*secret);
    station.secret = secret ? std::optional(derive_key(*secret)) : std::nullopt;
    station.proven.clear();
  }
  if (params.has("allow")) station.allow = params.texts("allow");
  if (params.has("comment")) station.comment = params.optional_text("comment").value_or("");
}

}  // namespace

json station_add(ControlService& service, const Params& params, const Progress&) {
  Catalogue& catalogue = service.store().catalogue();
  StationRecord station;
  station.name = params.text("name");
  station.created = station.changed = std::time(nullptr);
  apply(params, station);
  catalogue.add_station(station);
  return station_json(catalogue, station);
}

json station_list(ControlService& service, const Params&, const Progress&) {
  Catalogue& catalogue = service.store().catalogue();
  json stations = json::array();
  for (const StationRecord& station : catalogue.stations())
    stations.push_back(station_json(catalogue, station));
  return stations;
}

json station_show(ControlService& service, const Params& params, const Progress&) {
  Catalogue& catalogue = service.store().catalogue();
  return station_json(catalogue, catalogue.station(params.text("name")));
}

json station_set(ControlService& service, const Params& params, const Progress&) {
  Catalogue& catalogue = service.store().catalogue();
  return station_json(
      catalogue, catalogue.change_station(params.text("name"),
                                          [&](StationRecord& station) { apply(params, station); }));
}

json station_rename(ControlService& service, const Params& params, const Progress&) {
  return station_json(service.store().catalogue(),
                      service.store().rename_station(params.text("name"), params.text("to")));
}

json station_remove(ControlService& service, const Params& params, const Progress&) {
  const std::string name = params.text("name");
  service.store().remove_station(name);
  return {{"name", name}};
}

}  // namespace plydisk::methods
