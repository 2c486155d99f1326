// The administrator's verbs as methods with JSON parameters and results, over a store; for the
// control socket, and for the command line when no server runs.
//
// Method          params (* may be left out)                           result
// image.create    name, size* or from*, link*, description*, writes*   image
// image.list                                                           [image]
// image.show      name                                                 image
// image.set       name, description*, writes* (null clears)            image
// image.remove    name                                                 {name}
// image.accept    name                                                 image
// station.add     name, image*, writes*, destinations*, secret*,       station, without its secret
//                 allow*, comment*
// station.list                                                         [station]
// station.show    name                                                 station
// station.set     as station.add (null clears)                         station
// station.remove  name                                                 {name}
// session.list                                                         [session, without history]
// session.show    session                                              session
// session.end     session, discard*                                    {session, discarded}
// redirect        session, writes, carry*, force*                      {session, from, to,
//                                                     pause_ms, carried, survives}
// layer.list                                                           [layer]
// layer.show      layer                                                layer
// layer.check     layer                                                {uuid, sound, faults}
// param.list                                                           [param]
// param.get       name                                                 param
// param.set       name, value                                          param
// status                                                               status
//
// Names are those of the admin mount; sizes are bytes, times ISO 8601 in UTC, what is not set null.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.hpp"
#include "control/station_hub.hpp"
#include "store/store.hpp"

namespace plydisk {

// Thread safety: call() may be called from any thread.
class ControlService {
 public:
  enum class Role { server, command };
  // `store` must outlive the service, and so must `stations`, through which a server reaches them;
  // null: it does not.
  ControlService(Store& store, Role role, StationHub* stations = nullptr);

  // Throws RpcError for a method or params that are wrong, and what the store throws. `progress`
  // may throw: that cancels the work. It may be empty.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Progress& progress = {});

  Store& store() { return store_; }
  Role role() const { return role_; }
  StationHub* stations() { return stations_; }
  std::int64_t started() const { return started_; }

 private:
  Store& store_;
  const Role role_;
  StationHub* const stations_;
  const std::int64_t started_;  // seconds since 1970
};

}  // namespace plydisk
