#include <iostream>
#include <memory>

#include "base/error.hpp"
#include "base/secret.hpp"
#include "command.hpp"
#include "output.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

std::string joined(const json& list) {
  std::string text;
  for (const json& item : list) text += (text.empty() ? "" : ",") + printable(item);
  return text.empty() ? "-" : text;
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    if (comma > from) parts.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  return parts;
}

void print_stations(const json& stations) {
  Table table({{"NAME"}, {"IMAGE"}, {"WRITES"}, {"PERSISTENCE"}, {"ALLOW"}, {"COMMENT"}});
  for (const json& station : stations)
    table.add({printable(station["name"]), printable(station["image"]),
               printable(station["writes"]), printable(station["persistence"]),
               joined(station["allow"]), printable(station["comment"])});
  std::cout << table.text();
}

void print_station(const json& station) {
  Table fields({{}, {}});
  for (const char* field : {"name", "image", "writes", "persistence"})
    fields.add({field, printable(station[field])});
  fields.add({"destinations", printable(station["destinations"])});
  fields.add({"secret", station["has_secret"].get<bool>() ? "set" : "-"});
  fields.add({"allow", joined(station["allow"])});
  fields.add({"comment", printable(station["comment"])});
  fields.add({"created", format_time(station["created"])});
  std::cout << fields.text();
}

struct StationOptions {
  std::string name, image, writes, destinations, secret_file, comment;
  std::vector<std::string> allow, assignments;
  CLI::Option* image_option = nullptr;
  CLI::Option* writes_option = nullptr;
  CLI::Option* destinations_option = nullptr;
  CLI::Option* secret_option = nullptr;
  CLI::Option* allow_option = nullptr;
  CLI::Option* comment_option = nullptr;
};

void add_options(CLI::App& verb, StationOptions& options) {
  verb.add_option("NAME", options.name, "The name of the station")->required();
  options.image_option =
      verb.add_option("--image", options.image, "The image that it boots")->type_name("IMAGE");
  options.writes_option =
      verb.add_option("--writes", options.writes, "Where its writes go, such as server-volatile")
          ->type_name("DEST");
  options.destinations_option =
      verb.add_option("--destinations", options.destinations,
                      "What it may choose itself besides that; else all but direct")
          ->type_name("DEST[,DEST]");
  options.secret_option = verb.add_option("--secret-file", options.secret_file,
                                          "A file with the secret that it must show; empty: none")
                              ->type_name("FILE");
  options.allow_option = verb.add_option("--allow", options.allow,
                                         "A network or address it may come from; may be repeated")
                             ->type_name("CIDR")
                             ->allow_extra_args(false);
  options.comment_option =
      verb.add_option("--comment", options.comment, "A note for administrators")->type_name("TEXT");
}

json station_params(const StationOptions& options) {
  json params{{"name", options.name}};
  if (options.image_option->count() > 0) params["image"] = null_if_empty(options.image);
  if (options.writes_option->count() > 0) params["writes"] = null_if_empty(options.writes);
  if (options.destinations_option->count() > 0)
    params["destinations"] = null_if_empty(options.destinations);
  if (options.secret_option->count() > 0)
    params["secret"] =
        options.secret_file.empty() ? json(nullptr) : json(read_secret(options.secret_file));
  if (options.comment_option->count() > 0) params["comment"] = options.comment;
  if (options.allow_option->count() > 0) {
    params["allow"] = json::array();
    for (const std::string& networks : options.allow)
      for (const std::string& network : split_at_commas(networks))
        params["allow"].push_back(network);
  }
  for (const std::string& assignment : options.assignments) {
    const auto [key, value] = split_assignment(
        assignment, "a station", {"image", "writes", "destinations", "allow", "secret", "comment"});
    if (key == "secret" && !value.empty())
      throw Error(
          EINVAL,
          "a secret is not for the command line, which others can see: name a file that has "
          "it with --secret-file FILE");
    params[key] = key == "allow" ? json(split_at_commas(value)) : null_if_empty(value);
  }
  return params;
}

void add_add(CLI::App& group, Command& command) {
  auto options = std::make_shared<StationOptions>();
  CLI::App* verb =
      add_verb(group, "add", "Add a station",
               "  plydisk station add pc07 --image debian --writes server-volatile\n"
               "  plydisk station add pc08 --image debian --allow 10.0.0.8 --allow fd00::/64");
  add_options(*verb, *options);
  verb->callback([&command, options] {
    command.run = [&command, options] {
      return command.show(command.call("station.add", station_params(*options)),
                          [](const json& station) {
                            std::cout << "added the station " << printable(station["name"]) << "\n";
                          });
    };
  });
}

void add_station_set(CLI::App& group, Command& command) {
  auto options = std::make_shared<StationOptions>();
  CLI::App* verb =
      add_verb(group, "set", "Change a station; a live session keeps what it began with",
               "  plydisk station set pc07 writes=server-persistent\n"
               "  plydisk station set pc07 --destinations client-ram,client-volatile\n"
               "  plydisk station set pc07 --secret-file pc07.secret\n"
               "  plydisk station set pc07 --allow 10.0.0.0/24 comment=\"front desk\"\n"
               "  plydisk station set pc07 image= allow=      (clears both)");
  add_options(*verb, *options);
  verb->add_option("KEY=VALUE", options->assignments,
                   "image, writes, destinations or allow (separated by commas), comment; empty "
                   "clears");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      const json params = station_params(*options);
      if (params.size() == 1) throw UsageError(nothing_to_set);
      return command.show(command.call("station.set", params), print_station);
    };
  });
}

void add_by_name(CLI::App& group, Command& command, const std::string& verb_name,
                 const std::string& description, void (*print)(const json&)) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb =
      add_verb(group, verb_name, description, "  plydisk station " + verb_name + " pc07");
  verb->add_option("NAME", *name, "The name of the station")->required();
  verb->callback([&command, name, verb_name, print] {
    command.run = [&command, name, verb_name, print] {
      return command.show(command.call("station." + verb_name, {{"name", *name}}), print);
    };
  });
}

}  // namespace

void add_station_verbs(CLI::App& app, Command& command) {
  CLI::App* group = add_group(app, "station", "Stations: the workstations that use images");
  add_add(*group, command);
  CLI::App* list = add_verb(*group, "list", "List all stations", "  plydisk station list");
  list->callback([&command] {
    command.run = [&command] {
      return command.show(command.call("station.list", json::object()), print_stations);
    };
  });
  add_by_name(*group, command, "show", "Show a station", print_station);
  add_station_set(*group, command);
  auto name = std::make_shared<std::string>();
  auto to = std::make_shared<std::string>();
  CLI::App* rename =
      add_verb(*group, "rename", "Give a station another name; not while it has a session",
               "  plydisk station rename pc07 reading-room-7");
  rename->add_option("NAME", *name, "The name of the station")->required();
  rename->add_option("NEW", *to, "Its new name")->required();
  rename->callback([&command, name, to] {
    command.run = [&command, name, to] {
      return command.show(command.call("station.rename", {{"name", *name}, {"to", *to}}),
                          [name](const json& station) {
                            std::cout << "station " << printable(std::string_view(*name))
                                      << " is called " << printable(station["name"]) << " now\n";
                          });
    };
  });
  add_by_name(*group, command, "remove",
              "Remove a station; not while it has a session or persistent writes",
              [](const json& station) {
                std::cout << "removed the station " << printable(station["name"]) << "\n";
              });
}

}  // namespace plydisk
