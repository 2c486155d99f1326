#include <iostream>
#include <memory>

#include "backing/nbd_backing.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

void print_images(const json& images) {
  Table table({{"NAME"},
               {"SIZE", Table::Align::right},
               {"ALLOCATED", Table::Align::right},
               {"VERSION", Table::Align::right},
               {"SESSIONS", Table::Align::right},
               {"WRITES"},
               {"STATE"}});
  for (const json& image : images)
    table.add({printable(image["name"]), size_text(image["size"]), size_text(image["allocated"]),
               printable(image["published"]), printable(image["sessions"]),
               printable(image["writes"]), printable(image["state"])});
  std::cout << table.text();
}

void print_image(const json& image) {
  Table fields({{}, {}});
  fields.add({"name", printable(image["name"])});
  fields.add({"state", printable(image["state"])});
  fields.add({"size", size_text(image["size"]) + " (" + printable(image["size"]) + " bytes)"});
  fields.add({"allocated", size_text(image["allocated"])});
  fields.add({"backing", printable(image["backing"]) +
                             (image["linked"].get<bool>() ? " (served where it lies)" : "")});
  fields.add({"description", printable(image["description"])});
  fields.add({"writes", printable(image["writes"])});
  fields.add({"created", format_time(image["created"])});
  fields.add({"sessions", printable(image["sessions"])});
  std::cout << fields.text() << "\n";
  Table versions(
      {{"VERSION", Table::Align::right}, {"STATE"}, {"CREATED"}, {"LAYERS", Table::Align::right}});
  for (const json& version : image["versions"])
    versions.add({printable(version["number"]), printable(version["state"]),
                  format_time(version["created"]), std::to_string(version["layers"].size())});
  std::cout << versions.text();
}

struct CreateOptions {
  std::string name, size, from, description, writes;
  bool link = false;
};

constexpr const char* writes_help =
    "Where the writes of its stations go that have no destination of their own";

json create_params(const CreateOptions& options) {
  json params{{"name", options.name}};
  if (!options.size.empty()) {
    try {
      params["size"] = parse_disk_size(options.size);
    } catch (const Error& error) {
      throw UsageError(error.what());
    }
  }
  if (!options.from.empty())
    params["from"] = is_nbd_uri(options.from) ? options.from : absolute_path(options.from);
  if (options.link) params["link"] = true;
  if (!options.description.empty()) params["description"] = options.description;
  if (!options.writes.empty()) params["writes"] = options.writes;
  return params;
}

void add_create(CLI::App& group, Command& command) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* verb =
      add_verb(group, "create", "Make an image: an empty disk, or a copy of a file or block device",
               "  plydisk image create scratch --size 10G\n"
               "  plydisk image create debian --from /tmp/debian.img --description \"Debian 12\"\n"
               "  plydisk image create rescue --from /dev/sr0 --link\n"
               "  plydisk image create far --from nbd://server/disk --link");
  verb->add_option("NAME", options->name, "The name of the image")->required();
  CLI::Option_group* source =
      verb->add_option_group("source", "Where its contents come from: exactly one of");
  source->add_option("--size", options->size, "An empty disk of this size, such as 10G or 512M")
      ->type_name("SIZE");
  CLI::Option* from =
      source
          ->add_option("--from", options->from, "A copy of this raw file, block device or NBD URI")
          ->type_name("PATH|URI");
  source->require_option(1);
  verb->add_flag("--link", options->link, "Serve --from where it lies instead of copying it")
      ->needs(from);
  verb->add_option("--description", options->description, "What the image is for")
      ->type_name("TEXT");
  verb->add_option("--writes", options->writes, writes_help)->type_name("DEST");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      return command.show(command.call("image.create", create_params(*options)),
                          [](const json& image) {
                            std::cout << "made the image " << printable(image["name"]) << ", "
                                      << size_text(image["size"]) << "\n";
                          });
    };
  });
}

struct SetOptions {
  std::string name, writes, description;
  std::vector<std::string> assignments;
};

void add_image_set(CLI::App& group, Command& command) {
  auto options = std::make_shared<SetOptions>();
  CLI::App* verb =
      add_verb(group, "set", "Change an image's settings; live sessions keep what they began with",
               "  plydisk image set debian --writes server-persistent\n"
               "  plydisk image set debian writes= description=\"Room 4\"      (clears the first)");
  verb->add_option("NAME", options->name, "The name of the image")->required();
  CLI::Option* writes = verb->add_option("--writes", options->writes, writes_help);
  writes->type_name("DEST");
  CLI::Option* description =
      verb->add_option("--description", options->description, "What the image is for");
  description->type_name("TEXT");
  verb->add_option("KEY=VALUE", options->assignments, "writes or description; empty clears");
  verb->callback([&command, options, writes, description] {
    command.run = [&command, options, writes, description] {
      json params{{"name", options->name}};
      if (writes->count() > 0) params["writes"] = null_if_empty(options->writes);
      if (description->count() > 0) params["description"] = null_if_empty(options->description);
      for (const std::string& assignment : options->assignments) {
        const auto [key, value] =
            split_assignment(assignment, "an image", {"writes", "description"});
        params[key] = null_if_empty(value);
      }
      if (params.size() == 1) throw UsageError(nothing_to_set);
      return command.show(command.call("image.set", params), print_image);
    };
  });
}

void add_by_name(CLI::App& group, Command& command, const std::string& verb_name,
                 const std::string& description, const std::string& examples,
                 void (*print)(const json&)) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb = add_verb(group, verb_name, description, examples);
  verb->add_option("NAME", *name, "The name of the image")->required();
  verb->callback([&command, name, verb_name, print] {
    command.run = [&command, name, verb_name, print] {
      return command.show(command.call("image." + verb_name, {{"name", *name}}), print);
    };
  });
}

}  // namespace

void add_image_verbs(CLI::App& app, Command& command) {
  CLI::App* group = add_group(app, "image", "Images: the disks that stations share");
  add_create(*group, command);
  CLI::App* list = add_verb(*group, "list", "List all images",
                            "  plydisk image list\n"
                            "  plydisk image list --json | jq -r '.[].name'");
  list->callback([&command] {
    command.run = [&command] {
      return command.show(command.call("image.list", json::object()), print_images);
    };
  });
  add_by_name(*group, command, "show", "Show an image and its versions",
              "  plydisk image show debian", print_image);
  add_image_set(*group, command);
  add_by_name(*group, command, "remove",
              "Remove an image with its layers; not while stations or sessions use it",
              "  plydisk image remove scratch", [](const json& image) {
                std::cout << "removed the image " << printable(image["name"]) << "\n";
              });
  add_by_name(*group, command, "accept",
              "Take the backing of an image as it is now, after it was changed from outside",
              "  plydisk image accept rescue", [](const json& image) {
                std::cout << "the image " << printable(image["name"])
                          << " is taken as it is: " << printable(image["state"]) << "\n";
              });
}

}  // namespace plydisk
