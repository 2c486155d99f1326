#include "command.hpp"

#include <algorithm>
#include <iostream>

#include "base/error.hpp"
#include "control/protocol.hpp"
#include "control/store_caller.hpp"
#include "interruption.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

std::string absolute_path(const std::string& path) {
  if (path.empty()) throw UsageError("a path is empty");
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

json Command::call(const std::string& method, const json& params,
                   const Interruption* interruption) const {
  ProgressBar bar;
  StoreCaller::Options options;
  if (is_attached)
    options.server_only =
        "the process that serves this disk does not answer, and nothing was changed; it is started "
        "anew if need be: try again";
  if (interruption != nullptr)
    options.is_pointless = [interruption] { return interruption->has_come(); };
  return StoreCaller(store_directory(), options)
      .call(method, params,
            [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
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
