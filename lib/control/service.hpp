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
// version.freeze  image, session*                                      {image, number}
// station.add     name, image*, writes*, destinations*, secret*,       station, without its secret
//                 allow*, comment*
// station.list                                                         [station]
// station.show    name                                                 station
// station.set     as station.add (null clears)                         station
// station.remove  name                                                 {name}
// station.rename  name, to                                             station
// session.list                                                         [session, without history]
// session.show    session                                              session
// session.end     session, discard*                                    {session, discarded}
// redirect        session, writes, carry*, force*                      {session, from, to,
//                                                     pause_ms, carried, survives}
// layer.list                                                           [layer]
// layer.show      layer                                                layer
// layer.check     layer                                                {uuid, sound, faults}
// layer.remove    layer                                                {uuid}
// param.list                                                           [param]
// param.get       name                                                 param
// param.set       name, value                                          param
// status                                                               status
// changes                                                              {log, newest, and of each
//                                                     topic the number of its newest event}
// events          after*, log*, wait* (milliseconds)                   {log, events, lost, serving}
// names           topic                                                [{name, changed, …}]
//
// A client may look at one disk at a time:
// disk.open       session*, image*, version*                           {size, moment}
// disk.read       offset, length                                       bytes
// disk.extents    offset, length                                       [[offset, length, zero]]
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
  // `disk`: the caller's own, for the methods of a disk; null: there are none.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Progress& progress = {}, DiskView* disk = nullptr);
  // From now on no call waits for events.
  void stop_waiting() { store_.catalogue().events().stop(); }

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
