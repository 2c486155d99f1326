#include "fields.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "base/error.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr mode_t readable = 0444, writable = 0644, secret = 0600;

std::string text_of(const json& value) {
  if (value.is_null()) return "";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// The member of that name.
std::string member(const json& thing, const char* name) { return text_of(thing.at(name)); }

// A list, one item a line.
std::string lines(const json& thing, const char* name) {
  std::string text;
  for (const json& item : thing.at(name)) text += (text.empty() ? "" : "\n") + text_of(item);
  return text;
}

json null_if_empty(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

std::optional<Request> set_image(const json& image, const char* name, const std::string& text) {
  return Request{"image.set", {{"name", image.at("name")}, {name, null_if_empty(text)}}};
}

std::optional<Request> set_station(const json& station, const char* name, const std::string& text) {
  return Request{"station.set", {{"name", station.at("name")}, {name, null_if_empty(text)}}};
}

std::optional<Request> set_parameter(const json& parameter, const char*, const std::string& text) {
  return Request{"param.set", {{"name", parameter.at("name")}, {"value", text}}};
}

std::vector<std::string> words_of(std::string text) {
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

void check_networks(const std::string& line) {
  for (const std::string& network : words_of(line)) require_valid_cidr(network);
}

void check_text(const std::string& line) {
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  if (std::ranges::any_of(line, is_control))
    throw Error(EINVAL, quote(line) + " has control characters: use plain text");
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

constexpr std::array parameter_table{
    Field{"value", writable, member, set_parameter},
};

constexpr std::array image_table{
    Field{"allocated", readable, member},
    Field{"backing", readable, member},
    Field{"created", readable, member},
    Field{"description", writable, member, set_image, true, check_text},
    Field{"linked", readable, member},
    Field{"published", readable, member},
    Field{"sessions", readable, member},
    Field{"size", readable, member},
    Field{"state", readable, member},
    Field{"uuid", readable, member},
    Field{"writes", writable, member, set_image, true},
};

constexpr std::array version_table{
    Field{"created", readable, member}, Field{"layers", readable, lines},
    Field{"parent", readable, member},  Field{"size", readable, member},
    Field{"state", readable, member},
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
    Field{"connections", readable, member}, Field{"history", readable, get_history},
    Field{"image", readable, member},       Field{"layers", readable, lines},
    Field{"peer", readable, member},        Field{"persistence", readable, member},
    Field{"plan", readable, member},        Field{"started", readable, member},
    Field{"state", readable, member},       Field{"station", readable, member},
    Field{"stats", readable, get_stats},    Field{"trouble", readable, member},
    Field{"version", readable, member},     Field{"writes", writable, get_writes, set_writes},
};

constexpr std::array layer_table{
    Field{"allocated", readable, member}, Field{"chunks", readable, member},
    Field{"created", readable, member},   Field{"destination", readable, member},
    Field{"image", readable, member},     Field{"index", readable, member},
    Field{"kind", readable, member},      Field{"parent", readable, member},
    Field{"position", readable, member},  Field{"session", readable, member},
    Field{"size", readable, member},      Field{"state", readable, member},
};

void add_to_table(const std::string& name, const json& value, std::string& text) {
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      add_to_table(name.empty() ? key : name + "." + key, item, text);
    return;
  }
  constexpr std::size_t name_width = 20, number_width = 20;
  std::string line = name, shown = text_of(value);
  line.resize(std::max(name_width, name.size() + 1), ' ');
  if (value.is_number() && shown.size() < number_width)
    shown.insert(0, number_width - shown.size(), ' ');
  text += (text.empty() ? "" : "\n") + line + shown;
}

}  // namespace

std::span<const Field> parameter_fields() { return parameter_table; }
std::span<const Field> image_fields() { return image_table; }
std::span<const Field> version_fields() { return version_table; }
std::span<const Field> station_fields() { return station_table; }
std::span<const Field> session_fields() { return session_table; }
std::span<const Field> layer_fields() { return layer_table; }

const Field* find_field(std::span<const Field> fields, const std::string& name) {
  const auto found = std::ranges::find_if(fields, [&](const Field& f) { return name == f.name; });
  return found == fields.end() ? nullptr : &*found;
}

std::string table_text(const json& object) {
  std::string text;
  add_to_table("", object, text);
  return text;
}

}  // namespace plydisk
