// What has changed, for those who keep a picture of the store: the admin mount, and who follows.
#include <chrono>

#include "control/methods.hpp"
#include "control/records.hpp"
#include "store/names.hpp"

namespace plydisk::methods {

namespace {

constexpr std::uint64_t longest_wait_ms = 60'000;

json parameter_names(Store& store) {
  json names = json::array();
  for (const ParameterSpec& spec : parameter_specs())
    names.push_back(
        {{"name", spec.name}, {"changed", store.catalogue().parameter_changed(spec.name)}});
  return names;
}

json image_names(Store& store) {
  json names = json::array();
  for (const ImageRecord& image : store.catalogue().images()) {
    json versions = json::array();
    for (const VersionRecord& version : store.catalogue().versions(image.name))
      versions.push_back({{"name", std::to_string(version.number)},
                          {"state", version.state},
                          {"changed", version.created}});
    names.push_back({{"name", image.name}, {"changed", image.changed}, {"versions", versions}});
  }
  return names;
}

json station_names(Store& store) {
  json names = json::array();
  for (const StationRecord& station : store.catalogue().stations())
    names.push_back({{"name", station.name}, {"changed", station.changed}});
  return names;
}

json session_names(Store& store) {
  json names = json::array();
  for (const SessionName& session : store.session_names())
    names.push_back({{"name", session.id},
                     {"station", session.station},
                     {"image", session.image},
                     {"state", session.state},
                     {"started", session.started},
                     {"changed", session.changed}});
  return names;
}

json layer_names(Store& store) {
  json names = json::array();
  for (const LayerRecord& layer : store.catalogue().layers())
    names.push_back({{"name", layer.uuid}, {"changed", layer.created}});
  return names;
}

}  // namespace

json changes(ControlService& service, const Params&, const Progress&) {
  const EventLog& log = service.store().catalogue().events();
  const EventLog::Numbers numbers = log.numbers();
  json result{{"log", log.id()}, {"newest", numbers.newest}};
  for (const Topic topic : all_topics)
    result[to_string(topic)] = numbers.of_topic[static_cast<std::size_t>(topic)];
  return result;
}

json events(ControlService& service, const Params& params, const Progress&) {
  const EventLog& log = service.store().catalogue().events();
  // Numbers of another log, from before a restart, mean nothing.
  const bool is_other = params.optional_text("log").value_or(log.id()) != log.id();
  const std::uint64_t after = is_other ? 0 : params.optional_number("after").value_or(0);
  const std::uint64_t wait = params.optional_number("wait").value_or(0);
  if (wait > longest_wait_ms) params.refuse("nobody waits longer than a minute");
  if (wait > 0) log.wait(after, std::chrono::milliseconds(wait));
  json list = json::array();
  for (const Event& event : log.since(after)) list.push_back(event_json(event));
  const bool lost = is_other || (!list.empty() && list.front()["number"] != after + 1);
  return {{"log", log.id()},
          {"events", list},
          {"lost", lost},
          {"serving", service.role() == ControlService::Role::server}};
}

json names(ControlService& service, const Params& params, const Progress&) {
  const std::string topic = params.text("topic");
  Store& store = service.store();
  if (topic == to_string(Topic::parameters)) return parameter_names(store);
  if (topic == to_string(Topic::images)) return image_names(store);
  if (topic == to_string(Topic::stations)) return station_names(store);
  if (topic == to_string(Topic::sessions)) return session_names(store);
  if (topic == to_string(Topic::layers)) return layer_names(store);
  params.refuse("there is no topic " + quote(topic) +
                "; there are: parameters, images, stations, sessions, layers");
}

}  // namespace plydisk::methods
