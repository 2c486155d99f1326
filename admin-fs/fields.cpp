#include "fields.hpp"

#include <algorithm>
#include <array>
#include <sstream>

#include "base/error.hpp"
#include "field_text.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

using modes::readable, modes::secret, modes::writable;

std::optional<Request> set_station(const json& station, const char* name, const std::string& text) {
  return Request{"station.set", {{"name", station.at("name")}, {name, null_if_empty(text)}}};
}

std::optional<Request> set_parameter(const json& parameter, const char*, const std::string& text) {
  return Request{"param.set", {{"name", parameter.at("name")}, {"value", text}}};
}

void check_networks(const json&, const std::string& line) {
  for (const std::string& network : words_of(line)) require_valid_cidr(network);
}

std::optional<Request> set_allow(const json& station, const char*, const std::string& text) {
  return Request{"station.set", {{"name", station.at("name")}, {"allow", words_of(text)}}};
}

// What is kept of a secret is no secret that could be shown; writing back what is shown changes
// nothing.
constexpr const char* hidden = "*";

std::string get_secret(const json& station, const char*) {
  return station.at("has_secret").get<bool>() ? hidden : "";
}

std::optional<Request> set_secret(const json& station, const char*, const std::string& text) {
  if (text == hidden) return std::nullopt;
  return Request{"station.set", {{"name", station.at("name")}, {"secret", null_if_empty(text)}}};
}

// The same places, volatile or persistent.
std::optional<Request> set_persistence(const json& station, const char*, const std::string& text) {
  if (text != "volatile" && text != "persistent")
    throw Error(EINVAL, "the persistence of a station cannot be " + quote(text) +
                            ": use volatile or persistent");
  const WritePlan plan(station.at("plan").get<std::string>());
  return Request{"station.set",
                 {{"name", station.at("name")},
                  {"writes", to_string(with_persistence(plan, text == "persistent"))}}};
}

// Where they go now, with what comes next if that is as planned.
std::string get_writes(const json& session, const char*) {
  const std::string writes = session.at("writes"), plan = session.at("plan");
  return to_string(WritePlan(plan).first()) == writes ? plan : writes;
}

std::optional<Request> set_writes(const json& session, const char*, const std::string& text) {
  std::istringstream stream(text);
  std::string plan, word;
  stream >> plan;
  if (plan.empty())
    throw Error(EINVAL, "say where the writes are to go: server-volatile, server-persistent, …");
  json params{{"session", session.at("id")}, {"writes", to_string(WritePlan(plan))}};
  while (stream >> word) {
    if (word != "--carry" && word != "--force")
      throw Error(EINVAL,
                  "a destination may be followed by --carry or --force, not by " + quote(word));
    params[word.substr(2)] = true;
  }
  return Request{"redirect", params};
}

std::string get_history(const json& session, const char*) {
  std::string text;
  for (const json& event : session.at("history")) {
    const std::string detail = text_of(event.at("detail"));
    text += (text.empty() ? "" : "\n") + text_of(event.at("at")) + " " +
            text_of(event.at("event")) + (detail.empty() ? "" : " ") + detail;
  }
  return text;
}

std::string get_stats(const json& session, const char*) { return table_text(session.at("stats")); }

std::optional<Request> set_layer_check(const json& layer, const char* name,
                                       const std::string& text) {
  require_now(name, text);
  return Request{"layer.check", {{"layer", layer.at("uuid")}}};
}

std::optional<Request> set_check(const json&, const char* name, const std::string& text) {
  require_now(name, text);
  return Request{"check", json::object()};
}

std::optional<Request> set_gc(const json&, const char*, const std::string& text) {
  json params = json::object();
  bool is_now = false;
  for (const std::string& word : words_of(text)) {
    if (word == "now")
      is_now = true;
    else if (word == "dry-run")
      params["dry_run"] = true;
    else if (word == "unknown")
      params["unknown"] = true;
    else
      throw Error(EINVAL, "gc takes now, unknown or dry-run, not " + quote(word));
  }
  if (is_now == params.contains("dry_run") && (is_now || params.empty()))
    throw Error(EINVAL, "gc is done either now, or as a dry-run");
  return Request{"gc", params};
}

constexpr std::array store_table{
    command("check", member, set_check),
    command("gc", member, set_gc),
};

constexpr std::array parameter_table{
    Field{"value", writable, member, set_parameter},
};

constexpr std::array station_table{
    Field{"allow", writable, lines, set_allow, true, check_networks},
    Field{"comment", writable, member, set_station, true, check_text},
    Field{"created", readable, member},
    Field{"destinations", writable, member, set_station, true},
    Field{"image", writable, member, set_station, true},
    Field{"persistence", writable, member, set_persistence},
    Field{"secret", secret, get_secret, set_secret, true},
    Field{"writes", writable, member, set_station, true},
};

constexpr std::array session_table{
    Field{"connections", readable, member},  Field{"history", readable, get_history},
    Field{"image", readable, member},        Field{"layers", readable, lines},
    Field{"next_version", readable, member}, Field{"peer", readable, member},
    Field{"persistence", readable, member},  Field{"plan", readable, member},
    Field{"stale", readable, member},        Field{"started", readable, member},
    Field{"state", readable, member},        Field{"station", readable, member},
    Field{"stats", readable, get_stats},     Field{"trouble", readable, member},
    Field{"version", readable, member},      Field{"writes", writable, get_writes, set_writes},
};

constexpr std::array layer_table{
    Field{"allocated", readable, member},   command("check", member, set_layer_check),
    Field{"chunks", readable, member},      Field{"created", readable, member},
    Field{"destination", readable, member}, Field{"image", readable, member},
    Field{"index", readable, member},       Field{"kind", readable, member},
    Field{"parent", readable, member},      Field{"position", readable, member},
    Field{"session", readable, member},     Field{"size", readable, member},
    Field{"state", readable, member},
};

}  // namespace

std::span<const Field> store_fields() { return store_table; }
std::span<const Field> parameter_fields() { return parameter_table; }
std::span<const Field> station_fields() { return station_table; }
std::span<const Field> session_fields() { return session_table; }
std::span<const Field> layer_fields() { return layer_table; }

const Field* find_field(std::span<const Field> fields, const std::string& name) {
  const auto found = std::ranges::find_if(fields, [&](const Field& f) { return name == f.name; });
  return found == fields.end() ? nullptr : &*found;
}

void require_now(const char* name, const std::string& text) {
  if (text != "now")
    throw Error(EINVAL, std::string(name) + " is started by the word now, not by " + quote(text));
}

}  // namespace plydisk
