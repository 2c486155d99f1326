// multicast: join, leave and status, at a station for its disk and at a server for a station.
#include <iostream>
#include <memory>

#include "attached_disk.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

void print_member(const json& member) {
  Table fields({{}, {}});
  const bool is_joined = member["joined"].get<bool>();
  fields.add({"state", !is_joined                     ? "not joined"
                       : member["silent"].get<bool>() ? "joined, but nothing is heard"
                                                      : "joined"});
  if (!member["reason"].is_null()) fields.add({"reason", printable(member["reason"])});
  if (is_joined) {
    fields.add({"group", printable(member["group"]) + " port " + printable(member["port"])});
    fields.add({"interface", printable(member["interface"])});
    fields.add({"kept", size_text(member["bytes_kept"])});
  }
  const json& counters = member["counters"];
  fields.add({"read by multicast", size_text(counters["bytes_heard"])});
  fields.add({"read by unicast", size_text(counters["bytes_unicast"])});
  for (const auto& [name, text] :
       {std::pair{"heard", "chunks heard"}, std::pair{"used", "chunks used"},
        std::pair{"aged", "chunks too old"}, std::pair{"crowded_out", "chunks without room"},
        std::pair{"wrong", "chunks wrong"}, std::pair{"missed", "chunks missed"},
        std::pair{"asked", "chunks asked for"}, std::pair{"refused", "chunks refused"},
        std::pair{"lost", "packets lost"}, std::pair{"foreign", "packets of others"}})
    fields.add({text, printable(counters[name])});
  std::cout << fields.text();
}

void print_streams(const json& result) {
  Table table({{"IMAGE"},
               {"GROUP"},
               {"STATIONS", Table::Align::right},
               {"CHUNKS", Table::Align::right},
               {"SENT", Table::Align::right},
               {"MERGED", Table::Align::right},
               {"REFUSED", Table::Align::right},
               {"TROUBLE"}});
  for (const json& stream : result["streams"])
    table.add({printable(stream["image"]) + ":" + printable(stream["version"]),
               printable(stream["group"]) + " " + printable(stream["port"]),
               printable(stream["stations"]), printable(stream["chunks"]),
               format_size(stream["bytes"].get<std::uint64_t>()), printable(stream["merged"]),
               printable(stream["refused"]), printable(stream["trouble"])});
  std::cout << table.text();
}

int run_multicast(Command& command, const std::string& method, std::string name) {
  json request = json::object();
  if (const auto disk = name.empty() ? std::nullopt : find_disk(name)) {
    command.store = disk->store;
    command.is_attached = true;
  } else if (name.starts_with('/')) {
    require_disk(name);
  } else if (!name.empty()) {
    request["session"] = name;
  }
  return command.show(command.call(method, request), [](const json& result) {
    result.contains("streams") ? print_streams(result) : print_member(result);
  });
}

// What a unit of systemd does at the end of a boot.
int leave_with_all(Command& command) {
  json disks = json::array();
  for (const auto& disk : attached_disks()) {
    command.store = disk.store;
    command.is_attached = true;
    try {
      command.call("multicast.leave", json::object());
      disks.push_back(disk.title());
    } catch (const Error& error) {
      if (error.code() != ENOENT) throw;  // it is over no server's
    }
  }
  return command.show({{"disks", disks}}, [](const json& result) {
    for (const json& disk : result["disks"])
      std::cout << printable(disk) << " reads all by itself now\n";
  });
}

}  // namespace

void add_multicast_verbs(CLI::App& app, Command& command) {
  CLI::App* group = add_group(
      app, "multicast", "What stations read of one image at the same time, sent to all at once");
  const auto add = [&](const char* verb_name, const char* help, const char* examples,
                       bool required) {
    auto name = std::make_shared<std::string>();
    CLI::App* verb = add_verb(*group, verb_name, help, examples);
    verb->add_option("DISK", *name,
                     "An attached disk, as /dev/nbd0; at the server, a session: its id, station or "
                     "IMAGE@STATION")
        ->required(required);
    const std::string method = std::string("multicast.") + verb_name;
    verb->callback([&command, name, method] {
      command.run = [&command, name, method] {
        return name->empty() && method == "multicast.leave" ? leave_with_all(command)
                                                            : run_multicast(command, method, *name);
      };
    });
  };
  add("join", "Let a station hear what is sent",
      "  plydisk multicast join /dev/nbd0\n"
      "  plydisk multicast join pc07               (at the server)",
      true);
  add("leave", "Let it read all by itself again",
      "  plydisk multicast leave /dev/nbd0\n"
      "  plydisk multicast leave                   (all disks of this station)\n"
      "  plydisk multicast leave pc07              (at the server)",
      false);
  add("status", "Show what a station hears; or, at the server, what is sent",
      "  plydisk multicast status /dev/nbd0\n"
      "  plydisk multicast status",
      false);
}

}  // namespace plydisk
