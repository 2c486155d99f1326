// Layers, parameters, and the store as a whole.
#include <unistd.h>

#include <ctime>

#include "control/methods.hpp"
#include "control/records.hpp"

namespace plydisk::methods {

json layer_list(ControlService& service, const Params&, const Progress&) {
  json layers = json::array();
  for (const LayerStatus& layer : service.store().layers()) layers.push_back(layer_json(layer));
  return layers;
}

json layer_show(ControlService& service, const Params& params, const Progress&) {
  return layer_json(service.store().layer(params.text("layer")));
}

json layer_check(ControlService& service, const Params& params, const Progress&) {
  const std::string uuid = params.text("layer");
  const std::vector<std::string> faults = service.store().check_layer(uuid);
  return {{"uuid", uuid}, {"sound", faults.empty()}, {"faults", faults}};
}

json layer_remove(ControlService& service, const Params& params, const Progress&) {
  const std::string uuid = params.text("layer");
  service.store().remove_layer(uuid);
  return {{"uuid", uuid}};
}

namespace {

// Of the store, or of the image that the params name.
json parameter_of(ControlService& service, const Params& params, const ParameterSpec& spec) {
  const auto image = params.optional_text("image");
  return image ? image_parameter_json(service.store().catalogue(), spec, *image)
               : parameter_json(service.store().catalogue(), spec);
}

}  // namespace

json param_list(ControlService& service, const Params& params, const Progress&) {
  json parameters = json::array();
  for (const ParameterSpec& spec : parameter_specs())
    if (spec.of_image || !params.has("image"))
      parameters.push_back(parameter_of(service, params, spec));
  return parameters;
}

json param_get(ControlService& service, const Params& params, const Progress&) {
  return parameter_of(service, params, parameter_spec(params.text("name")));
}

json param_set(ControlService& service, const Params& params, const Progress&) {
  const std::string name = params.text("name");
  if (const auto image = params.optional_text("image"))
    service.store().catalogue().set_image_parameter(*image, name, params.optional_text("value"));
  else
    service.store().catalogue().set_parameter(name, params.text("value"));
  return parameter_of(service, params, parameter_spec(name));
}

json status(ControlService& service, const Params&, const Progress&) {
  Store& store = service.store();
  const bool serving = service.role() == ControlService::Role::server;
  json sessions{{"live", 0}, {"waiting", 0}, {"at-rest", 0}};
  std::uint64_t connections = 0, bytes_read = 0, bytes_written = 0;
  for (const SessionStatus& session : store.sessions()) {
    sessions[session.state] = sessions.value(session.state, 0) + 1;
    connections += session.connections;
    bytes_read += session.bytes_read;
    bytes_written += session.bytes_written;
  }
  std::uint64_t refused = 0, allocated = 0;
  const std::vector<ImageStatus> images = store.images();
  for (const ImageStatus& image : images) {
    refused += image.state != "ok";
    allocated += image.allocated;
  }
  return {{"version", PLYDISK_VERSION},
          {"format", store_format},
          {"store", store.directory().string()},
          {"serving", serving},
          {"pid", ::getpid()},
          {"started", serving ? time_json(service.started()) : json(nullptr)},
          {"uptime", serving ? std::time(nullptr) - service.started() : 0},
          {"images", images.size()},
          {"images_refused", refused},
          {"images_allocated", allocated},
          {"stations", store.catalogue().stations().size()},
          {"sessions", sessions},
          {"connections", connections},
          {"layers", store.catalogue().layers().size()},
          {"multicast", multicast_streams(service)},
          {"stats", {{"bytes_read", bytes_read}, {"bytes_written", bytes_written}}}};
}

}  // namespace plydisk::methods
