// The administrator's verbs as methods with JSON parameters and results, over a store; for the
// control socket, and for the command line when no server runs.
//
// Method          params (* may be left out)                           result
// image.create    name, size* or from*, link*, description*, writes*   image
// image.adopt     name, description*, writes*                          image
// image.list                                                           [image]
// image.show      name                                                 image
// image.set       name, description*, writes* (null clears)            image
// image.remove    name                                                 {name}
// image.accept    name                                                 image
// version.list    image                                                [version]
// version.freeze  image*, session*                                     version
// version.open    image, station, base*, comment*                      version
// version.close   image, number*                                       version
// version.publish image, number*                                       version
// version.test    image, number, stations*                             version
// version.set     image, number, comment* (null clears)                version
// version.discard image, number*                                       {image}
// version.merge   image, first, last                                   {image, number, layers,
//                                                     copied, removed, still_in_use}
// version.diff    image, before, after                                 {image, before, after,
//                                                     sectors, bytes, [[offset, length]]}
// version.verify  image, number*                                       {image, number, sound,
//                                                     chunks, hashed, damaged}
// gc              dry_run*, unknown*                                   {dry_run, versions,
//                                                     folders, unknown, freed}
// check                                                                {sound, images, versions,
//                                                     layers, faults, remarks}
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
// multicast.join  session*                                             multicast
// multicast.leave session*                                             multicast
// multicast.status session*                                            multicast, or of all streams
// layer.list                                                           [layer]
// layer.show      layer                                                layer
// layer.check     layer                                                {uuid, sound, faults}
// layer.remove    layer                                                {uuid}
// param.list      image*                                               [param]
// param.get       name, image*                                         param
// param.set       name, value* (null clears an image's), image*        param
// status                                                               status
// changes                                                              {log, newest, and of each
//                                                     topic the number of its newest event}
// events          after*, log*, wait* (milliseconds)                   {log, events, lost, serving}
// names           topic                                                [{name, changed, …}]
//
// A client may have one disk open at a time: a session's or a version's, to look at it; or that of
// a station, which names an image: to look at what its firmware would have, or with `write` as that
// firmware, see Store::connect().
// disk.open       session*, image*, version*, station*, write*         {size, moment}
// disk.read       offset, length                                       bytes
// disk.write      offset, data (hexadecimal)                           {}
// disk.flush                                                           {}
// disk.extents    offset, length                                       [[offset, length, zero,
//                                                     number of the file that has it, or null]]
// disk.files                                                           [[descriptor, device,
//                                                     inode]], of this process
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

class MulticastService;
class MulticastStation;

// What a client has open: nothing, or one of these.
struct ClientDisk {
  DiskView view;
  std::unique_ptr<Store::Connection> firmware;
};

// What a process has of multicast; null: it has none.
struct MulticastParts {
  MulticastService* service = nullptr;  // a server
  MulticastStation* station = nullptr;  // a station
};

// Thread safety: call() may be called from any thread.
class ControlService {
 public:
  enum class Role { server, command };
  // All must outlive the service. `stations`: through which a server reaches them; null: it does
  // not.
  ControlService(Store& store, Role role, StationHub* stations = nullptr,
                 MulticastParts multicast = {});

  // Throws RpcError for a method or params that are wrong, and what the store throws. `progress`
  // may throw: that cancels the work. It may be empty.
  // `disk`: the caller's own, for the methods of a disk; null: there are none.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Progress& progress = {}, ClientDisk* disk = nullptr);
  // From now on no call waits for events.
  void stop_waiting() { store_.catalogue().events().stop(); }

  Store& store() { return store_; }
  Role role() const { return role_; }
  StationHub* stations() { return stations_; }
  const MulticastParts& multicast() const { return multicast_; }
  std::int64_t started() const { return started_; }

 private:
  Store& store_;
  const Role role_;
  StationHub* const stations_;
  const MulticastParts multicast_;
  const std::int64_t started_;  // seconds since 1970
};

}  // namespace plydisk
