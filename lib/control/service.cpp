#include "control/service.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include "control/methods.hpp"
#include "control/protocol.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

struct Method {
  const char* name;
  std::vector<const char*> fields;
  json (*run)(ControlService&, const Params&, const Progress&);
};

const std::vector<const char*> station_fields{"name",   "image", "writes", "destinations",
                                              "secret", "allow", "comment"};

const std::vector<Method>& method_table() {
  static const std::vector<Method> table{
      {"image.create",
       {"name", "size", "from", "link", "description", "writes"},
       methods::image_create},
      {"image.adopt", {"name", "description", "writes"}, methods::image_adopt},
      {"image.list", {}, methods::image_list},
      {"image.show", {"name"}, methods::image_show},
      {"image.set", {"name", "description", "writes"}, methods::image_set},
      {"image.remove", {"name"}, methods::image_remove},
      {"image.accept", {"name"}, methods::image_accept},
      {"version.list", {"image"}, methods::version_list},
      {"version.freeze", {"image", "session"}, methods::version_freeze},
      {"version.open", {"image", "station", "base", "comment"}, methods::version_open},
      {"version.close", {"image", "number"}, methods::version_close},
      {"version.publish", {"image", "number"}, methods::version_publish},
      {"version.test", {"image", "number", "stations"}, methods::version_test},
      {"version.set", {"image", "number", "comment"}, methods::version_set},
      {"version.discard", {"image", "number"}, methods::version_discard},
      {"version.merge", {"image", "first", "last"}, methods::version_merge},
      {"version.diff", {"image", "before", "after"}, methods::version_diff},
      {"version.verify", {"image", "number"}, methods::version_verify},
      {"gc", {"dry_run", "unknown"}, methods::gc},
      {"check", {}, methods::check},
      {"station.add", station_fields, methods::station_add},
      {"station.list", {}, methods::station_list},
      {"station.show", {"name"}, methods::station_show},
      {"station.set", station_fields, methods::station_set},
      {"station.remove", {"name"}, methods::station_remove},
      {"station.rename", {"name", "to"}, methods::station_rename},
      {"session.list", {}, methods::session_list},
      {"session.show", {"session"}, methods::session_show},
      {"session.end", {"session", "discard"}, methods::session_end},
      {"redirect", {"session", "writes", "carry", "force"}, methods::redirect},
      {"multicast.join", {"session"}, methods::multicast_join},
      {"multicast.leave", {"session"}, methods::multicast_leave},
      {"multicast.status", {"session"}, methods::multicast_status},
      {"layer.list", {}, methods::layer_list},
      {"layer.show", {"layer"}, methods::layer_show},
      {"layer.check", {"layer"}, methods::layer_check},
      {"layer.remove", {"layer"}, methods::layer_remove},
      {"param.list", {"image"}, methods::param_list},
      {"param.get", {"name", "image"}, methods::param_get},
      {"param.set", {"name", "value", "image"}, methods::param_set},
      {"status", {}, methods::status},
      {"changes", {}, methods::changes},
      {"events", {"after", "log", "wait"}, methods::events},
      {"names", {"topic"}, methods::names},
  };
  return table;
}

struct DiskMethod {
  const char* name;
  std::vector<const char*> fields;
  json (*run)(ControlService&, ClientDisk&, const Params&);
};

const std::vector<DiskMethod>& disk_method_table() {
  static const std::vector<DiskMethod> table{
      {"disk.open", {"session", "image", "version", "station", "write"}, methods::disk_open},
      {"disk.read", {"offset", "length"}, methods::disk_read},
      {"disk.write", {"offset", "data"}, methods::disk_write},
      {"disk.flush", {}, methods::disk_flush},
      {"disk.extents", {"offset", "length"}, methods::disk_extents},
      {"disk.files", {}, methods::disk_files},
  };
  return table;
}

// What would change of an attached disk's store what the disk is made of.
constexpr std::array servers_alone{
    "image.create",   "image.adopt",    "image.set",    "image.remove",    "image.accept",
    "version.open",   "version.close",  "version.test", "version.publish", "version.discard",
    "version.merge",  "version.freeze", "version.set",  "station.add",     "station.set",
    "station.rename", "station.remove"};

void require_right_store(Store& store, const std::string& method) {
  if (store.catalogue().role() == StoreRole::station &&
      std::ranges::any_of(servers_alone, [&](const char* name) { return method == name; }))
    throw Error(EPERM,
                "this store is an attached disk's, which has one image and one station; "
                "they are changed at the disk's server");
}

[[noreturn]] void no_such_method(const std::string& name) {
  std::vector<std::string> names;
  for (const Method& method : method_table()) names.emplace_back(method.name);
  for (const DiskMethod& method : disk_method_table()) names.emplace_back(method.name);
  throw RpcError(rpc_code::unknown_method, ENOSYS,
                 "there is no method " + quote(name) + suggestion(name, names));
}

}  // namespace

ControlService::ControlService(Store& store, Role role, StationHub* stations,
                               MulticastParts multicast)
    : store_(store),
      role_(role),
      stations_(stations),
      multicast_(multicast),
      started_(std::time(nullptr)) {}

json ControlService::call(const std::string& method, const json& params, const Progress& progress,
                          ClientDisk* disk) {
  const auto is_meant = [&](const auto& entry) { return method == entry.name; };
  const auto& disk_methods = disk_method_table();
  if (const auto found = std::ranges::find_if(disk_methods, is_meant);
      found != disk_methods.end() && disk != nullptr)
    return found->run(*this, *disk, Params(method, params, found->fields));
  const auto& table = method_table();
  const auto found = std::ranges::find_if(table, is_meant);
  if (found == table.end()) no_such_method(method);
  require_right_store(store_, method);
  const Progress tell = progress ? progress : [](std::uint64_t, std::uint64_t) {};
  return found->run(*this, Params(method, params, found->fields), tell);
}

}  // namespace plydisk
