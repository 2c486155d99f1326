// What the verbs of the command share: the options that all take, and the way to the store.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace plydisk {

class Interruption;

// A wrong command line that the parser could not know for wrong; exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Command {
  std::string store = "/var/lib/plydisk";
  bool as_json = false;
  // The store is an attached disk's: nobody but its engine may work on it.
  bool is_attached = false;
  // What the verb that was given does; returns the exit code. Run once the line is parsed.
  std::function<int()> run;

  std::filesystem::path store_directory() const;
  // Calls the server of the store, or does the same in this process if there is none. Shows a
  // progress bar for work that takes long.
  // `interruption`: what ends the work, with an Error; null: what ends the process.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Interruption* interruption = nullptr) const;
  // Prints the result as JSON if that is wanted, else with `print`. Returns 0.
  int show(const nlohmann::json& result,
           const std::function<void(const nlohmann::json&)>& print) const;
};

// The path that the user gave, absolute: the server has another working directory.
std::string absolute_path(const std::string& path);
// One KEY=VALUE of a `set` verb. UsageError if `thing` ("a station") has no such key.
std::pair<std::string, std::string> split_assignment(const std::string& assignment,
                                                     const std::string& thing,
                                                     const std::vector<std::string>& keys);
// A setting is cleared by null.
nlohmann::json null_if_empty(const std::string& text);
inline constexpr const char* nothing_to_set =
    "there is nothing to set: give an option, or KEY=VALUE";
// A subcommand that has verbs of its own.
CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description);
// A verb with its examples.
CLI::App* add_verb(CLI::App& parent, const std::string& name, const std::string& description,
                   const std::string& examples);

void add_image_verbs(CLI::App& app, Command& command);
// One of them, with a file of its own.
void add_image_create(CLI::App& group, Command& command);
inline constexpr const char* image_writes_help =
    "Where the writes of its stations go that have no destination of their own";
void add_version_verbs(CLI::App& app, Command& command);
// gc and check.
void add_upkeep_verbs(CLI::App& app, Command& command);
void add_station_verbs(CLI::App& app, Command& command);
void add_session_verbs(CLI::App& app, Command& command);
void add_multicast_verbs(CLI::App& app, Command& command);
void add_layer_verbs(CLI::App& app, Command& command);
// init, param and status.
void add_store_verbs(CLI::App& app, Command& command);
// attach and detach.
void add_attach_verbs(CLI::App& app, Command& command);

// boot
void add_boot_verb(CLI::App& app, Command& command);

// capture
void add_capture_verb(CLI::App& app, Command& command);

// netboot
void add_netboot_verb(CLI::App& app, Command& command);

// Attached disks, for status: one that a user names, or all.
int show_disk(const Command& command, const std::string& name);
nlohmann::json disks_json();
void print_disks(const nlohmann::json& disks);

}  // namespace plydisk
