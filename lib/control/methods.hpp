// What the service's table of methods points to; for lib/control alone.
#pragma once

#include <nlohmann/json.hpp>

#include "base/progress.hpp"
#include "control/params.hpp"
#include "control/service.hpp"

namespace plydisk::methods {

using nlohmann::json;

json image_create(ControlService& service, const Params& params, const Progress& progress);
json image_adopt(ControlService& service, const Params& params, const Progress& progress);
json image_list(ControlService& service, const Params& params, const Progress& progress);
json image_show(ControlService& service, const Params& params, const Progress& progress);
json image_remove(ControlService& service, const Params& params, const Progress& progress);
json image_set(ControlService& service, const Params& params, const Progress& progress);
json image_accept(ControlService& service, const Params& params, const Progress& progress);

json version_list(ControlService& service, const Params& params, const Progress& progress);
json version_freeze(ControlService& service, const Params& params, const Progress& progress);
json version_open(ControlService& service, const Params& params, const Progress& progress);
json version_close(ControlService& service, const Params& params, const Progress& progress);
json version_publish(ControlService& service, const Params& params, const Progress& progress);
json version_test(ControlService& service, const Params& params, const Progress& progress);
json version_set(ControlService& service, const Params& params, const Progress& progress);
json version_discard(ControlService& service, const Params& params, const Progress& progress);
json version_merge(ControlService& service, const Params& params, const Progress& progress);
json version_diff(ControlService& service, const Params& params, const Progress& progress);
json version_verify(ControlService& service, const Params& params, const Progress& progress);

json gc(ControlService& service, const Params& params, const Progress& progress);
json check(ControlService& service, const Params& params, const Progress& progress);

json station_add(ControlService& service, const Params& params, const Progress& progress);
json station_list(ControlService& service, const Params& params, const Progress& progress);
json station_show(ControlService& service, const Params& params, const Progress& progress);
json station_set(ControlService& service, const Params& params, const Progress& progress);
json station_remove(ControlService& service, const Params& params, const Progress& progress);

json station_rename(ControlService& service, const Params& params, const Progress& progress);

json session_list(ControlService& service, const Params& params, const Progress& progress);
json session_show(ControlService& service, const Params& params, const Progress& progress);
json session_end(ControlService& service, const Params& params, const Progress& progress);
json redirect(ControlService& service, const Params& params, const Progress& progress);
// What the station of this session answers to the server's request. Throws Error: as
// StationHub::ask(); what the station says.
json ask_station(ControlService& service, const SessionRecord& session, const char* method,
                 const json& params);

json multicast_join(ControlService& service, const Params& params, const Progress& progress);
json multicast_leave(ControlService& service, const Params& params, const Progress& progress);
json multicast_status(ControlService& service, const Params& params, const Progress& progress);
// What the server sends; and what a session has of it, null if it never took part.
json multicast_streams(ControlService& service);
json multicast_of(ControlService& service, const std::string& session);

json layer_list(ControlService& service, const Params& params, const Progress& progress);
json layer_show(ControlService& service, const Params& params, const Progress& progress);
json layer_remove(ControlService& service, const Params& params, const Progress& progress);
json layer_check(ControlService& service, const Params& params, const Progress& progress);

json param_list(ControlService& service, const Params& params, const Progress& progress);
json param_get(ControlService& service, const Params& params, const Progress& progress);
json param_set(ControlService& service, const Params& params, const Progress& progress);

json status(ControlService& service, const Params& params, const Progress& progress);
json changes(ControlService& service, const Params& params, const Progress& progress);
json events(ControlService& service, const Params& params, const Progress& progress);
json names(ControlService& service, const Params& params, const Progress& progress);

json disk_open(ControlService& service, ClientDisk& disk, const Params& params);
json disk_read(ControlService& service, ClientDisk& disk, const Params& params);
json disk_write(ControlService& service, ClientDisk& disk, const Params& params);
json disk_flush(ControlService& service, ClientDisk& disk, const Params& params);
json disk_extents(ControlService& service, ClientDisk& disk, const Params& params);
json disk_files(ControlService& service, ClientDisk& disk, const Params& params);

}  // namespace plydisk::methods
