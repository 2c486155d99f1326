#include "command.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "base/error.hpp"
#include "control/client.hpp"
#include "control/protocol.hpp"
#include "control/service.hpp"
#include "output.hpp"
#include "store/store.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// Another command may have the store for a moment, and a server that starts has it before it
// listens.
constexpr auto patience = std::chrono::seconds(3);
constexpr auto between_calls = std::chrono::milliseconds(50);

json call_in_process(Store& store, const std::string& method, const json& params,
                     const Progress& progress) {
  ControlService service(store, ControlService::Role::command);
  return service.call(method, params, progress);
}

}  // namespace

std::string absolute_path(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::pair<std::string, std::string> split_assignment(const std::string& assignment,
                                                     const std::string& thing,
                                                     const std::vector<std::string>& keys) {
  const auto equals = assignment.find('=');
  if (equals == std::string::npos) throw UsageError(quote(assignment) + " is not KEY=VALUE");
  const std::string key = assignment.substr(0, equals);
  if (std::find(keys.begin(), keys.end(), key) == keys.end())
    throw UsageError(thing + " has no setting " + quote(key) + suggestion(key, keys));
  return {key, assignment.substr(equals + 1)};
}

nlohmann::json null_if_empty(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

std::filesystem::path Command::store_directory() const { return absolute_path(store); }

json Command::call(const std::string& method, const json& params) const {
  const std::filesystem::path directory = store_directory();
  ProgressBar bar;
  const Progress progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
  const auto give_up = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (auto client = ControlClient::connect(directory))
      return client->call(method, params, progress);
    const bool is_late = std::chrono::steady_clock::now() >= give_up;
    if (is_attached && is_late)
      throw Error(EAGAIN,
                  "the process that serves this disk does not answer, and nothing was changed; it "
                  "is started anew if need be: try again");
    std::unique_ptr<Store> opened;
    try {
      if (!is_attached) opened = Store::open(directory);
    } catch (const Error& error) {
      if (error.code() != EBUSY) throw;
      if (is_late)
        throw Error(EBUSY, error.what() + std::string(", and nobody answers on ") +
                               (directory / "control").string() +
                               ": wait until it is done, or stop it");
    }
    if (opened) return call_in_process(*opened, method, params, progress);
    std::this_thread::sleep_for(between_calls);
  }
}

int Command::show(const json& result, const std::function<void(const json&)>& print) const {
  if (as_json) {
    std::cout << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else {
    print(result);
  }
  return 0;
}

CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App* group = parent.add_subcommand(name, description);
  group->require_subcommand(1);
  group->footer("\"plydisk " + name +
                " VERB --help\" tells more about each. All take --json and "
                "--store DIR.");
  return group;
}

CLI::App* add_verb(CLI::App& parent, const std::string& name, const std::string& description,
                   const std::string& examples) {
  CLI::App* verb = parent.add_subcommand(name, description);
  verb->footer("It takes --json and --store DIR as well.\n\nExamples:\n" + examples);
  return verb;
}

}  // namespace plydisk
