#include "control/records.hpp"

#include <array>
#include <ctime>

namespace plydisk {

using nlohmann::json;

namespace {

json optional_json(const std::optional<WritePlan>& plan) {
  return plan ? json(to_string(*plan)) : json(nullptr);
}

json optional_json(const std::optional<std::string>& text) {
  return text ? json(*text) : json(nullptr);
}

json null_if_empty(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

const char* persistence(bool persistent) { return persistent ? "persistent" : "volatile"; }

WritePlan effective_writes(Catalogue& catalogue, const StationRecord& station) {
  if (station.writes) return *station.writes;
  if (station.image) {
    if (const auto image = catalogue.find_image(*station.image); image && image->writes)
      return *image->writes;
  }
  return WritePlan(catalogue.parameter("default-writes"));
}

}  // namespace

json time_json(std::int64_t seconds) {
  if (seconds == 0) return nullptr;
  const std::time_t time = seconds;
  std::tm parts{};
  std::array<char, 64> text{};
  if (::gmtime_r(&time, &parts) == nullptr) return nullptr;
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text.data(), length);
}

json version_json(Store& store, const VersionRecord& version) {
  return {{"image", version.image},
          {"number", version.number},
          {"state", version.state},
          {"base", version.base == 0 ? json(nullptr) : json(version.base)},
          {"station", null_if_empty(version.station)},
          {"testers", version.testers},
          {"comment", version.comment},
          {"allocated", store.version_allocated(version)},
          {"created", time_json(version.created)},
          {"layers", version.layers}};
}

json image_json(Store& store, const ImageStatus& image) {
  const ImageRecord& record = image.record;
  json versions = json::array();
  for (const VersionRecord& version : store.catalogue().versions(record.name))
    versions.push_back(version_json(store, version));
  return {{"name", record.name},
          {"uuid", record.uuid},
          {"size", record.size},
          {"backing", record.backing},
          {"linked", record.linked},
          {"description", record.description},
          {"writes", optional_json(record.writes)},
          {"created", time_json(record.created)},
          {"changed", time_json(record.changed)},
          {"published", record.published},
          {"state", image.state},
          {"allocated", image.allocated},
          {"sessions", image.sessions},
          {"versions", versions}};
}

json station_json(Catalogue& catalogue, const StationRecord& station) {
  const WritePlan plan = effective_writes(catalogue, station);
  return {{"name", station.name},
          {"image", optional_json(station.image)},
          {"writes", optional_json(station.writes)},
          {"plan", to_string(plan)},
          {"persistence", persistence(is_persistent(plan.first()))},
          {"destinations", optional_json(station.destinations)},
          {"has_secret", station.secret.has_value()},
          {"allow", station.allow},
          {"comment", station.comment},
          {"created", time_json(station.created)},
          {"changed", time_json(station.changed)}};
}

json session_json(const SessionStatus& session) {
  const SessionRecord& record = session.record;
  return {{"id", record.id},
          {"station", null_if_empty(record.station)},
          {"image", record.image},
          {"version", record.version},
          {"next_version", session.next_version},
          {"stale", session.is_stale},
          {"peer", record.peer},
          {"started", time_json(record.started)},
          {"ended", time_json(record.ended)},
          {"state", session.state},
          {"trouble", null_if_empty(session.trouble)},
          {"writes", to_string(record.writes)},
          {"plan", to_string(record.plan)},
          {"persistence", persistence(session.persistent)},
          {"layers", session.layers},
          {"connections", session.connections},
          {"stats",
           {{"bytes_read", session.bytes_read},
            {"bytes_written", session.bytes_written},
            {"requests", session.requests},
            {"flushes", session.flushes}}}};
}

json history_json(Catalogue& catalogue, const std::string& session) {
  json history = json::array();
  for (const HistoryRecord& event : catalogue.history(session))
    history.push_back(
        {{"at", time_json(event.at)}, {"event", event.event}, {"detail", event.detail}});
  return history;
}

json layer_json(const LayerStatus& layer) {
  const LayerRecord& record = layer.record;
  return {{"uuid", record.uuid},
          {"id", record.uuid},
          {"kind", record.kind},
          {"destination", to_string(record.destination)},
          {"parent", null_if_empty(record.parent)},
          {"image", record.image},
          {"session", null_if_empty(record.session)},
          {"position", record.position},
          {"state", record.state},
          {"size", record.size},
          {"allocated", layer.allocated},
          {"chunks", layer.chunks},
          {"created", time_json(record.created)},
          {"index", (layer.folder / "index.sqlite").string()}};
}

json event_json(const Event& event) {
  return {{"number", event.number}, {"at", time_json(event.at)}, {"topic", to_string(event.topic)},
          {"event", event.event},   {"name", event.name},        {"detail", event.detail}};
}

json parameter_json(Catalogue& catalogue, const ParameterSpec& spec) {
  return {{"name", spec.name},
          {"value", catalogue.parameter(spec.name)},
          {"default", spec.default_value},
          {"unit", spec.unit},
          {"help", spec.help}};
}

json image_parameter_json(Catalogue& catalogue, const ParameterSpec& spec,
                          const std::string& image) {
  json result = parameter_json(catalogue, spec);
  result["default"] = result["value"];
  const auto own = catalogue.image_parameter(image, spec.name);
  if (own) result["value"] = *own;
  result["image"] = image;
  result["own"] = own.has_value();
  return result;
}

}  // namespace plydisk
