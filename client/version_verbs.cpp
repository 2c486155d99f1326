// Versions of images, and the upkeep of the store.
#include <charconv>
#include <iostream>
#include <memory>

#include "command.hpp"
#include "output.hpp"
#include "version_files.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr std::size_t shown_ranges = 20;

std::string name_of(const json& version) {
  return "version " + printable(version["number"]) + " of image " + printable(version["image"]);
}

std::string joined(const json& list) {
  std::string text;
  for (const json& item : list) text += (text.empty() ? "" : ", ") + printable(item);
  return text;
}

void print_versions(const json& versions) {
  Table table({{"VERSION", Table::Align::right},
               {"STATE"},
               {"MADE ON", Table::Align::right},
               {"CREATED (UTC)"},
               {"LAYERS", Table::Align::right},
               {"ADDED", Table::Align::right},
               {"STATIONS"},
               {"COMMENT"}});
  for (const json& version : versions)
    table.add(
        {printable(version["number"]), printable(version["state"]), printable(version["base"]),
         format_time(version["created"]), std::to_string(version["layers"].size()),
         size_text(version["allocated"]),
         version["station"].is_null() ? joined(version["testers"]) : printable(version["station"]),
         printable(version["comment"])});
  std::cout << table.text();
}

struct Words {
  std::string image, range, session, station, comment;
  unsigned number = 0, other = 0;
  std::vector<std::string> stations;
  bool none = false, files = false, dry_run = false, unknown = false;
};

// The image, and the number if one was given.
json version_params(const Words& words) {
  json params{{"image", words.image}};
  if (words.number != 0) params["number"] = words.number;
  return params;
}

// Verbs of the group `version`, which all take an image.
class Group {
 public:
  Group(CLI::App& group, Command& command) : group_(group), command_(command) {}

  struct Verb {
    CLI::App* app;
    std::shared_ptr<Words> words;
  };
  Verb add(const std::string& name, const std::string& description, const std::string& examples) {
    Verb verb{add_verb(group_, name, description, examples), std::make_shared<Words>()};
    verb.app->add_option("IMAGE", verb.words->image, "The name of the image")->required();
    return verb;
  }
  static CLI::Option* add_number(const Verb& verb, const std::string& help) {
    return verb.app->add_option("VERSION", verb.words->number, help)
        ->check(CLI::Range(1U, UINT32_MAX));
  }
  // Calls `method` with what `params` makes of the words, and shows the result.
  template <typename MakeParams, typename Print>
  void run(const Verb& verb, const std::string& method, MakeParams params, Print print) {
    Command& command = command_;
    verb.app->callback([&command, method, params, print, words = verb.words] {
      command.run = [&command, method, params, print, words] {
        return command.show(command.call(method, params(*words)), print);
      };
    });
  }

  Command& command() { return command_; }

 private:
  CLI::App& group_;
  Command& command_;
};

void add_changing_verbs(Group& group) {
  auto open =
      group.add("open", "Open a new version, for one station to write to",
                "  plydisk version open debian --station pc07\n"
                "  plydisk version open debian --station pc07 --base 3 --comment \"LibreOffice\"");
  open.app->add_option("--station", open.words->station, "Who writes to it from the next boot on")
      ->type_name("NAME")
      ->required();
  open.app
      ->add_option("--base", open.words->number,
                   "The version that it begins as; else the published one")
      ->type_name("VERSION")
      ->check(CLI::Range(1U, UINT32_MAX));
  open.app->add_option("--comment", open.words->comment, "What it is for")->type_name("TEXT");
  group.run(
      open, "version.open",
      [](const Words& words) {
        json params{{"image", words.image}, {"station", words.station}};
        if (words.number != 0) params["base"] = words.number;
        if (!words.comment.empty()) params["comment"] = words.comment;
        return params;
      },
      [](const json& version) {
        std::cout << "opened " << name_of(version) << "; station " << printable(version["station"])
                  << " writes to it from its next boot on\n";
      });

  auto close = group.add("close", "Close the open version: its station is done with it",
                         "  plydisk version close debian");
  Group::add_number(close, "The open version");
  group.run(close, "version.close", version_params, [](const json& version) {
    std::cout << "closed " << name_of(version)
              << "; let stations have it with: plydisk version publish "
              << printable(version["image"]) << " " << printable(version["number"]) << "\n";
  });

  auto test = group.add("test", "Let some stations have a version before it is published",
                        "  plydisk version test debian 4 --station pc01 --station pc02\n"
                        "  plydisk version test debian 4 --none");
  Group::add_number(test, "The version")->required();
  CLI::Option_group* who = test.app->add_option_group("who", "Who has it: one of");
  who->add_option("--station", test.words->stations,
                  "This station, from its next boot on; may be repeated")
      ->type_name("NAME");
  who->add_flag("--none", test.words->none, "No station any more");
  who->require_option(1);
  group.run(
      test, "version.test",
      [](const Words& words) {
        json params = version_params(words);
        params["stations"] = words.stations;
        return params;
      },
      [](const json& version) {
        const std::string testers = joined(version["testers"]);
        std::cout << (testers.empty()
                          ? "nobody tests " + name_of(version) + " any more"
                          : name_of(version) + " goes to " + testers + " at the next boot")
                  << "\n";
      });

  const auto print_published = [](const json& version) {
    std::cout << "stations get " << name_of(version) << " at their next boot\n";
  };
  auto publish = group.add("publish", "Let all stations have a version at their next boot",
                           "  plydisk version publish debian\n  plydisk version publish debian 4");
  Group::add_number(publish, "The version; else the newest that is closed");
  group.run(publish, "version.publish", version_params, print_published);
  auto revert =
      group.add("revert", "Publish an older version again", "  plydisk version revert debian 3");
  Group::add_number(revert, "The version")->required();
  group.run(revert, "version.publish", version_params, print_published);

  auto discard =
      group.add("discard", "Remove a version that nobody uses, with what was written to it",
                "  plydisk version discard debian 4");
  Group::add_number(discard, "The version")->required();
  group.run(discard, "version.discard", version_params, [words = discard.words](const json&) {
    std::cout << "removed version " << words->number << " of image "
              << printable(std::string_view(words->image)) << "\n";
  });
}

std::pair<unsigned, unsigned> parse_range(const std::string& text) {
  const auto dots = text.find("..");
  const auto number = [&](std::string_view part) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value == 0)
      throw UsageError("\"" + text + "\" is not FIRST..LAST, as in 2..5");
    return value;
  };
  if (dots == std::string::npos) number("");
  return {number(std::string_view(text).substr(0, dots)),
          number(std::string_view(text).substr(dots + 2))};
}

void print_merge(const json& result) {
  std::cout << "merged " << printable(result["layers"]) << " layers of " << name_of(result)
            << " into one, " << size_text(result["copied"]) << " copied\n";
  if (!result["removed"].empty())
    std::cout << "removed versions: " << joined(result["removed"]) << "\n";
  if (!result["still_in_use"].empty())
    std::cout << "still in use, and gone when their last session ends: "
              << joined(result["still_in_use"]) << "\n";
}

void print_difference(const json& difference) {
  std::cout << printable(difference["sectors"]) << " sectors differ, "
            << size_text(difference["bytes"]) << "\n";
  std::size_t shown = 0;
  for (const json& range : difference["ranges"]) {
    if (shown++ == shown_ranges) {
      std::cout << "  … and " << difference["ranges"].size() - shown_ranges
                << " more ranges; all of them with --json\n";
      break;
    }
    std::cout << "  " << printable(range[1]) << " bytes at " << printable(range[0]) << "\n";
  }
}

void print_verification(const json& result) {
  if (result["sound"].get<bool>()) {
    std::cout << name_of(result) << " is sound: " << printable(result["chunks"])
              << " chunks are as they were hashed\n";
    if (result["hashed"].get<std::uint64_t>() > 0)
      std::cout << printable(result["hashed"])
                << " chunks had no hash to compare with, and have one now\n";
    return;
  }
  for (const json& chunk : result["damaged"])
    std::cout << "damaged: " << printable(chunk["length"]) << " bytes at "
              << printable(chunk["offset"]) << ", in "
              << (chunk["layer"].is_null() ? "the backing" : "layer " + printable(chunk["layer"]))
              << "\n";
}

void add_looking_verbs(Group& group) {
  auto list = group.add("list", "List an image's versions", "  plydisk version list debian");
  group.run(list, "version.list", version_params, print_versions);

  auto merge = group.add("merge", "Merge what some versions have added into one layer",
                         "  plydisk version merge debian 2..5");
  merge.app
      ->add_option("VERSIONS", merge.words->range,
                   "From which version to which; the last one stays")
      ->type_name("FIRST..LAST")
      ->required();
  group.run(
      merge, "version.merge",
      [](const Words& words) {
        const auto [first, last] = parse_range(words.range);
        return json{{"image", words.image}, {"first", first}, {"last", last}};
      },
      print_merge);

  auto diff =
      group.add("diff", "Show what differs between two versions",
                "  plydisk version diff debian 3 4\n  plydisk version diff debian 3 4 --files");
  diff.app->add_option("BEFORE", diff.words->number, "A version")->required();
  diff.app->add_option("AFTER", diff.words->other, "Another one")->required();
  diff.app->add_flag("--files", diff.words->files, "Show the files that differ, too");
  Command& command = group.command();
  diff.app->callback([&command, words = diff.words] {
    command.run = [&command, words] {
      json result = command.call(
          "version.diff",
          {{"image", words->image}, {"before", words->number}, {"after", words->other}});
      if (words->files) add_files(command, result);
      return command.show(result, [&](const json& difference) {
        print_difference(difference);
        if (words->files) print_files(difference);
      });
    };
  });

  auto verify = group.add("verify", "Compare a version with its hashes; exits 1 if it is damaged",
                          "  plydisk version verify debian\n  plydisk version verify debian 3");
  Group::add_number(verify, "The version; else the published one");
  verify.app->callback([&command, words = verify.words] {
    command.run = [&command, words] {
      const json result = command.call("version.verify", version_params(*words));
      command.show(result, print_verification);
      return result["sound"].get<bool>() ? 0 : 1;
    };
  });
}

void add_version_from(CLI::App& group, Command& command) {
  auto words = std::make_shared<Words>();
  CLI::App* verb = add_verb(group, "from", "Make a version of what a session has written",
                            "  plydisk version from pc07");
  verb->add_option("SESSION", words->session, "Its id; its station's name; or IMAGE@STATION")
      ->required();
  verb->callback([&command, words] {
    command.run = [&command, words] {
      return command.show(
          command.call("version.freeze", {{"session", words->session}}), [](const json& version) {
            std::cout << "made " << name_of(version)
                      << "; let stations have it with: plydisk version publish "
                      << printable(version["image"]) << " " << printable(version["number"]) << "\n";
          });
    };
  });
}

void print_garbage(const json& garbage) {
  const bool dry = garbage["dry_run"].get<bool>();
  for (const json& version : garbage["versions"])
    std::cout << (dry ? "would remove " : "removed ") << name_of(version) << ", which was merged\n";
  for (const json& folder : garbage["folders"])
    std::cout << (dry ? "would remove " : "removed ") << printable(folder) << "\n";
  for (const json& folder : garbage["unknown"])
    std::cout << "in no record: " << printable(folder) << "; remove it with --unknown\n";
  std::cout << size_text(garbage["freed"]) << (dry ? " would be freed\n" : " freed\n");
}

void print_store_check(const json& check) {
  for (const json& fault : check["faults"]) std::cout << "fault: " << printable(fault) << "\n";
  for (const json& remark : check["remarks"]) std::cout << printable(remark) << "\n";
  std::cout << (check["sound"].get<bool>() ? "the store is sound: " : "checked: ")
            << printable(check["images"]) << " images, " << printable(check["versions"])
            << " versions, " << printable(check["layers"]) << " layers\n";
}

}  // namespace

void add_version_verbs(CLI::App& app, Command& command) {
  CLI::App* app_group = add_group(
      app, "version", "Versions of images: changed by one station, published to all, reverted");
  Group group(*app_group, command);
  add_changing_verbs(group);
  add_version_from(*app_group, command);
  add_looking_verbs(group);
}

void add_upkeep_verbs(CLI::App& app, Command& command) {
  auto words = std::make_shared<Words>();
  CLI::App* gc = add_verb(app, "gc", "Free what nothing in the store refers to",
                          "  plydisk gc --dry-run\n  plydisk gc");
  gc->add_flag("--dry-run", words->dry_run, "Only tell what would be removed");
  gc->add_flag("--unknown", words->unknown,
               "Also remove folders that no record speaks of, and unfinished captures");
  gc->callback([&command, words] {
    command.run = [&command, words] {
      return command.show(
          command.call("gc", {{"dry_run", words->dry_run}, {"unknown", words->unknown}}),
          print_garbage);
    };
  });
  CLI::App* check =
      add_verb(app, "check", "Check the store; exits 1 if there are faults", "  plydisk check");
  check->callback([&command] {
    command.run = [&command] {
      const json result = command.call("check", json::object());
      command.show(result, print_store_check);
      return result["sound"].get<bool>() ? 0 : 1;
    };
  });
}

}  // namespace plydisk
