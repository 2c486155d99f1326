#include <iostream>
#include <memory>

#include "base/error.hpp"
#include "command.hpp"
#include "output.hpp"
#include "store/store.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

void print_parameters(const json& parameters) {
  Table table({{"NAME"}, {"VALUE"}, {"UNIT"}, {"DEFAULT"}, {"MEANING"}});
  for (const json& parameter : parameters)
    table.add({printable(parameter["name"]), printable(parameter["value"]),
               printable(parameter["unit"]), printable(parameter["default"]),
               printable(parameter["help"])});
  std::cout << table.text();
}

// The value alone, for scripts.
void print_value(const json& parameter) { std::cout << printable(parameter["value"]) << "\n"; }

void print_status(const json& status) {
  Table fields({{}, {}});
  fields.add({"store", printable(status["store"])});
  fields.add({"version", printable(status["version"])});
  if (status["serving"].get<bool>()) {
    fields.add({"server", "process " + printable(status["pid"]) + ", up " +
                              format_duration(status["uptime"].get<std::uint64_t>())});
    fields.add({"connections", printable(status["connections"])});
    fields.add({"read", size_text(status["stats"]["bytes_read"])});
    fields.add({"written", size_text(status["stats"]["bytes_written"])});
  } else {
    fields.add({"server", "not running"});
  }
  fields.add({"images", printable(status["images"]) + ", " + printable(status["images_refused"]) +
                            " refused, " + size_text(status["images_allocated"]) + " allocated"});
  fields.add({"stations", printable(status["stations"])});
  const json& sessions = status["sessions"];
  fields.add({"sessions", printable(sessions["live"]) + " live, " + printable(sessions["waiting"]) +
                              " waiting, " + printable(sessions["at-rest"]) + " at rest"});
  fields.add({"layers", printable(status["layers"])});
  std::cout << fields.text();
}

void add_init(CLI::App& app, Command& command) {
  CLI::App* verb = add_verb(app, "init", "Make an empty store",
                            "  plydisk init\n"
                            "  plydisk init --store /srv/plydisk");
  verb->callback([&command] {
    command.run = [&command] {
      const std::filesystem::path directory = command.store_directory();
      Store::init(directory);
      return command.show({{"store", directory.string()}}, [](const json& result) {
        std::cout << "made a store in " << printable(result["store"]) << "\n";
      });
    };
  });
}

// A station may have no store of its own, and a server no attached disks.
int show_status(const Command& command) {
  const json disks = disks_json();
  const bool has_store = std::filesystem::exists(command.store_directory() / "catalogue.sqlite");
  if (disks.empty() && !has_store)
    throw Error(ENOENT, "no disk is attached here, and there is no store in " +
                            command.store_directory().string() +
                            ": attach one with \"plydisk attach\", make a store with \"plydisk "
                            "init\", or name its folder with --store");
  if (has_store) {
    json result = command.call("status", json::object());
    result["disks"] = disks;
    return command.show(result, [](const json& status) {
      print_status(status);
      if (!status["disks"].empty()) print_disks(status["disks"]);
    });
  }
  return command.show({{"disks", disks}}, [](const json& status) { print_disks(status["disks"]); });
}

void add_status(CLI::App& app, Command& command) {
  auto device = std::make_shared<std::string>();
  CLI::App* verb = add_verb(
      app, "status", "Show what the store holds and what its server does, and attached disks",
      "  plydisk status\n"
      "  plydisk status --json | jq .sessions.live\n"
      "  plydisk status /dev/nbd0");
  verb->add_option("DEVICE", *device, "This attached disk alone");
  verb->callback([&command, device] {
    command.run = [&command, device] {
      return device->empty() ? show_status(command) : show_disk(command, *device);
    };
  });
}

void print_event(const json& event) {
  std::cout << format_time(event["at"]) << "  " << printable(event["topic"]) << "  "
            << printable(event["event"]) << "  " << printable(event["name"]) << "  "
            << printable(event["detail"]) << "\n";
}

// Ends with an error when the server does.
int show_events(const Command& command, bool follow) {
  constexpr unsigned wait_ms = 10'000;
  json request = json::object();
  for (bool first = true;; first = false) {
    const json answer = command.call("events", request);
    if (!first && answer["lost"].get<bool>())
      std::cerr << "plydisk: the server has begun anew, or more has happened than it keeps: some "
                   "events are missing\n";
    for (const json& event : answer["events"]) {
      if (command.as_json)
        std::cout << event.dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
      else
        print_event(event);
      request["after"] = event["number"];
    }
    std::cout.flush();
    if (!follow || !std::cout) return 0;
    request["log"] = answer["log"];
    request["wait"] = wait_ms;
  }
}

void add_events(CLI::App& app, Command& command) {
  auto follow = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(app, "events", "Show what has happened since the server was started",
                            "  plydisk events\n"
                            "  plydisk events --follow --json | jq .event");
  verb->add_flag("-f,--follow", *follow, "Go on as more happens");
  verb->callback([&command, follow] {
    command.run = [&command, follow] { return show_events(command, *follow); };
  });
}

struct ParameterArguments {
  std::string name, value, image;
  json request() const {
    json request = json::object();
    if (!name.empty()) request["name"] = name;
    if (!image.empty()) request["image"] = image;
    return request;
  }
};

void add_param(CLI::App& app, Command& command) {
  CLI::App* group = add_group(app, "param", "Parameters of the store, and of images");
  auto given = std::make_shared<ParameterArguments>();
  const auto add_image = [given](CLI::App* verb) {
    return verb->add_option("--image", given->image,
                            "Of this image, whose own values go before the store's");
  };
  const auto add_name = [given](CLI::App* verb) {
    verb->add_option("NAME", given->name, "The name of the parameter")->required();
  };
  const auto set_to = [&command, given](const json& value) {
    json request = given->request();
    request["value"] = value;
    return command.show(command.call("param.set", request), [](const json& parameter) {
      std::cout << printable(parameter["name"]) << " is " << printable(parameter["value"])
                << " now\n";
    });
  };
  CLI::App* list = add_verb(*group, "list", "List all parameters", "  plydisk param list");
  add_image(list);
  list->callback([&command, given] {
    command.run = [&command, given] {
      return command.show(command.call("param.list", given->request()), print_parameters);
    };
  });
  CLI::App* get = add_verb(*group, "get", "Print the value of a parameter",
                           "  plydisk param get session-grace");
  add_name(get);
  add_image(get);
  get->callback([&command, given] {
    command.run = [&command, given] {
      return command.show(command.call("param.get", given->request()), print_value);
    };
  });
  CLI::App* set = add_verb(*group, "set", "Change a parameter",
                           "  plydisk param set session-grace 120\n"
                           "  plydisk param set unknown-stations refuse\n"
                           "  plydisk param set multicast auto --image debian");
  add_name(set);
  set->add_option("VALUE", given->value, "Its new value")->required();
  add_image(set);
  set->callback([&command, given, set_to] {
    command.run = [given, set_to] { return set_to(given->value); };
  });
  CLI::App* clear = add_verb(*group, "clear", "Let an image have the store's value again",
                             "  plydisk param clear multicast --image debian");
  add_name(clear);
  add_image(clear)->required();
  clear->callback([&command, set_to] { command.run = [set_to] { return set_to(nullptr); }; });
}

}  // namespace

void add_store_verbs(CLI::App& app, Command& command) {
  add_init(app, command);
  add_status(app, command);
  add_events(app, command);
  add_param(app, command);
}

}  // namespace plydisk
