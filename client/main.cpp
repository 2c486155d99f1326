// The `plydisk` command: parses the line, runs one verb, turns errors into one sentence.
//
// Exit codes: 0 done, 1 an error, 2 the command line is wrong, 128 and a signal's number if one
// ended the work, as shells say of a process that does not clean up.
#include <algorithm>
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "command.hpp"
#include "control/protocol.hpp"
#include "interruption.hpp"
#include "output.hpp"
#include "shutdown.hpp"
#include "store/names.hpp"

namespace {

using namespace plydisk;

constexpr const char* description =
    "Emulated hard disks for workstations: one image, many stations, each with its own writes.";
constexpr const char* footer =
    "The store is the folder of images, layers and records. While a server serves it, the command\n"
    "works through the server; else it works on the store itself.\n\n"
    "Examples:\n"
    "  plydisk init\n"
    "  plydisk image create debian --from /tmp/debian.img\n"
    "  plydisk capture /dev/sdb --image windows\n"
    "  plydisk station add pc07 --image debian --writes server-volatile --allow 10.0.0.7\n"
    "  nbdkit plydisk store=/var/lib/plydisk\n"
    "  plydisk session list\n"
    "  plydisk redirect pc07 server-persistent --carry";

void set_up(CLI::App& app, Command& command) {
  app.name("plydisk");
  app.fallthrough();
  app.require_subcommand(1);
  app.footer(footer);
  app.set_version_flag("--version", "plydisk " PLYDISK_VERSION, "Show the version, and exit");
  app.add_option("--store", command.store, "The folder of the store")
      ->type_name("DIR")
      ->envname("PLYDISK_STORE")
      ->capture_default_str();
  app.add_flag("--json", command.as_json, "Print results and errors as JSON");
  add_store_verbs(app, command);
  add_image_verbs(app, command);
  add_version_verbs(app, command);
  add_station_verbs(app, command);
  add_session_verbs(app, command);
  add_multicast_verbs(app, command);
  add_layer_verbs(app, command);
  add_upkeep_verbs(app, command);
  add_attach_verbs(app, command);
  add_boot_verb(app, command);
  add_capture_verb(app, command);
  add_netboot_verb(app, command);
}

// Called while handling an exception.
void report(const std::string& sentence, bool as_json) {
  std::cout.flush();
  std::cerr << "plydisk: " << printable(std::string_view(sentence)) << "\n";
  if (!as_json) return;
  nlohmann::json error = current_error_json();
  std::cout << nlohmann::json{{"error",
                               {{"message", sentence},
                                {"errno", error["data"]["errno"]},
                                {"name", error["data"]["name"]}}}}
                   .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
            << "\n";
}

int report_usage(const std::string& sentence, bool as_json) {
  try {
    throw Error(EINVAL, sentence);
  } catch (...) {
    report(sentence, as_json);
  }
  std::cerr << "Try \"plydisk --help\".\n";
  return 2;
}

// Of a line that lacks a verb: what is there instead. The parser itself names nothing.
std::string unknown_verb(const CLI::App& app) {
  const CLI::App* group = &app;
  std::string line = group->get_name();
  while (!group->get_subcommands().empty()) {
    group = group->get_subcommands().front();
    line += " " + group->get_name();
  }
  std::vector<std::string> verbs;
  for (const CLI::App* verb : group->get_subcommands(nullptr))
    if (!verb->get_name().empty()) verbs.push_back(verb->get_name());  // else a group of options
  const std::vector<std::string> words = app.remaining(true);
  if (verbs.empty() || words.empty() || words.front().starts_with('-')) return {};
  return quote(line) + " has no verb " + quote(words.front()) + suggestion(words.front(), verbs);
}

// The words of the line, last one first as the parser takes them. It would give "--comment=" the
// next word for a value; here that means an empty one.
std::vector<std::string> reversed_words(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.starts_with("--") && word.find('=') == word.size() - 1) {
      word.pop_back();
      words.push_back(word);
      word.clear();
    }
    words.push_back(word);
  }
  std::reverse(words.begin(), words.end());
  return words;
}

int run(int argc, char** argv) {
  CLI::App app(description);
  Command command;
  set_up(app, command);
  // Known even if the line cannot be parsed.
  const bool json_asked = std::any_of(
      argv, argv + argc, [](const char* word) { return std::string_view(word) == "--json"; });
  try {
    app.parse(reversed_words(argc, argv));
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return 0;
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << "\n";
    return 0;
  } catch (const CLI::RequiredError& error) {
    const std::string unknown = unknown_verb(app);
    return report_usage(unknown.empty() ? error.what() : unknown, json_asked);
  } catch (const CLI::ParseError& error) {
    return report_usage(error.what(), json_asked);
  }
  try {
    return command.run();
  } catch (const UsageError& error) {
    return report_usage(error.what(), command.as_json);
  } catch (const std::exception& error) {
    report(error.what(), command.as_json);
    const int signal = Interruption::last_signal();
    return signal == 0 ? 1 : 128 + signal;
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Not a word for users: systemd gives this name to what ends the system.
  if (argc > 1 && std::string_view(argv[0]) == "/shutdown") return shut_down(argv[1]);
  // A reader that has enough is no error, and a full disk is one.
  std::signal(SIGPIPE, SIG_DFL);
  const int code = run(argc, argv);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "plydisk: cannot write the output\n";
    return 1;
  }
  return code;
}
