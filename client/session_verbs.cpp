#include <cstdio>
#include <iostream>
#include <memory>

#include "attached_disk.hpp"
#include "command.hpp"
#include "output.hpp"
#include "store/destination.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr const char* session_help =
    "Its id; or its station, if that has one session alone; or IMAGE@STATION";

void print_sessions(const json& sessions) {
  Table table({{"ID"},
               {"STATION"},
               {"IMAGE"},
               {"WRITES"},
               {"PERSISTENCE"},
               {"STATE"},
               {"PEER"},
               {"LAYERS", Table::Align::right},
               {"STARTED (UTC)"}});
  for (const json& session : sessions)
    table.add({printable(session["id"]), printable(session["station"]),
               printable(session["image"]) + ":" + printable(session["version"]) +
                   (session["stale"].get<bool>() ? " (stale)" : ""),
               printable(session["writes"]), printable(session["persistence"]),
               printable(session["state"]), printable(session["peer"]),
               std::to_string(session["layers"].size()), format_time(session["started"])});
  std::cout << table.text();
}

void print_session(const json& session) {
  Table fields({{}, {}});
  for (const char* field : {"id", "station", "image", "version", "state", "writes", "persistence",
                            "peer", "connections"})
    fields.add({field, printable(session[field])});
  if (session["stale"].get<bool>())
    fields.add({"stale", "it keeps writes on version " + printable(session["version"]) +
                             ", and others get version " + printable(session["next_version"])});
  fields.add({"started", format_time(session["started"])});
  fields.add({"ended", format_time(session["ended"])});
  const json& stats = session["stats"];
  fields.add({"read", size_text(stats["bytes_read"])});
  fields.add({"written", size_text(stats["bytes_written"])});
  fields.add({"requests", printable(stats["requests"])});
  fields.add({"flushes", printable(stats["flushes"])});
  std::cout << fields.text() << "\nlayers, newest first:\n";
  for (const json& layer : session["layers"]) std::cout << "  " << printable(layer) << "\n";
  std::cout << "\nhistory:\n";
  Table history({{}, {}, {}});
  for (const json& event : session["history"])
    history.add(
        {"  " + format_time(event["at"]), printable(event["event"]), printable(event["detail"])});
  std::cout << history.text();
}

void print_redirect(const json& result) {
  std::cout << "session " << printable(result["session"]) << " writes to "
            << printable(result["to"]) << " now, before to " << printable(result["from"]) << "\n";
  if (const auto carried = result["carried"].get<std::uint64_t>(); carried > 0)
    std::cout << format_size(carried) << " of earlier writes were carried along\n";
  std::printf("requests waited %.2f ms\n", result["pause_ms"].get<double>());
  if (is_persistent(parse_destination(printable(result["to"]))) && !result["survives"].get<bool>())
    std::cerr << "plydisk: warning: what is written from now on will not survive the next boot, "
                 "since a volatile layer lies below; --carry keeps all\n";
}

void add_end(CLI::App& group, Command& command) {
  auto session = std::make_shared<std::string>();
  auto discard = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(
      group, "end", "End a session: its station gets errors, its volatile writes are dropped",
      "  plydisk session end pc07\n"
      "  plydisk session end debian@pc07 --discard      (a clean disk at the next boot)");
  verb->add_option("SESSION", *session, session_help)->required();
  verb->add_flag("--discard", *discard, "Drop its persistent writes too");
  verb->callback([&command, session, discard] {
    command.run = [&command, session, discard] {
      return command.show(
          command.call("session.end", {{"session", *session}, {"discard", *discard}}),
          [](const json& result) {
            std::cout << "ended the session " << printable(result["session"])
                      << (result["discarded"].get<bool>() ? " and discarded its writes" : "")
                      << "\n";
          });
    };
  });
}

struct RedirectArguments {
  std::string session, destination;
  bool carry = false, force = false;
};

void add_redirect(CLI::App& app, Command& command) {
  auto options = std::make_shared<RedirectArguments>();
  CLI::App* verb =
      add_verb(app, "redirect", "Change where a live session's writes go",
               "  plydisk redirect pc07 server-persistent\n"
               "  plydisk redirect pc07 server-persistent --carry   (keeps the writes so far too)\n"
               "  plydisk redirect /dev/nbd0 client-ram:2G,client-volatile");
  verb->add_option("SESSION", options->session,
                   std::string(session_help) + "; or an attached disk, as /dev/nbd0")
      ->required();
  verb->add_option("DEST", options->destination,
                   "direct, server-volatile, server-persistent, client-ram, client-volatile or "
                   "client-persistent; or a list of them with sizes, DEST[:SIZE][,DEST…]")
      ->required();
  verb->add_flag(
      "--carry", options->carry,
      "First merge the volatile writes so far into the persistent ones; to direct, all of "
      "them into the image");
  verb->add_flag("--force", options->force,
                 "To direct, although layers hold writes that the image then lacks");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      if (const auto disk = find_disk(options->session)) {
        command.store = disk->store;
        command.is_attached = true;
        options->session = disk->session();
      } else if (options->session.starts_with('/')) {
        require_disk(options->session);
      }
      return command.show(command.call("redirect", {{"session", options->session},
                                                    {"writes", options->destination},
                                                    {"carry", options->carry},
                                                    {"force", options->force}}),
                          print_redirect);
    };
  });
}

}  // namespace

void add_session_verbs(CLI::App& app, Command& command) {
  CLI::App* group =
      add_group(app, "session", "Sessions: stations' systems on their images, boot to shutdown");
  CLI::App* list =
      add_verb(*group, "list", "List all sessions, live and at rest", "  plydisk session list");
  list->callback([&command] {
    command.run = [&command] {
      return command.show(command.call("session.list", json::object()), print_sessions);
    };
  });
  auto session = std::make_shared<std::string>();
  CLI::App* show = add_verb(*group, "show", "Show a session, its layers and its history",
                            "  plydisk session show pc07");
  show->add_option("SESSION", *session, session_help)->required();
  show->callback([&command, session] {
    command.run = [&command, session] {
      return command.show(command.call("session.show", {{"session", *session}}), print_session);
    };
  });
  add_end(*group, command);
  add_redirect(app, command);
}

}  // namespace plydisk
