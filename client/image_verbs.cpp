#include <iostream>
#include <memory>

#include "base/error.hpp"
#include "command.hpp"
#include "image_disc.hpp"
#include "image_export.hpp"
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

void print_export(const json& done) {
  std::cout << "exported "
            << (done["session"].is_null()
                    ? printable(done["image"]) + ":" + printable(done["version"])
                    : "the session " + printable(done["session"]))
            << " to " << printable(done["out"]) << ", " << size_text(done["size"]) << ", "
            << printable(done["format"]) << "\n";
}

void add_export(CLI::App& group, Command& command) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* verb =
      add_verb(group, "export", "Copy a version's or a session's disk out of the store",
               "  plydisk image export debian /srv/debian.img\n"
               "  plydisk image export debian:3 debian.vmdk\n"
               "  plydisk image export pc07 /dev/sdb --force\n"
               "  plydisk image export debian - | zstd > debian.img.zst");
  verb->add_option("WHAT", options->what,
                   "IMAGE for its published version, IMAGE:VERSION, or a session: its id, its "
                   "station, or IMAGE@STATION")
      ->required();
  verb->add_option("OUT", options->out, "A file, a block device, or - for standard output")
      ->required();
  verb->add_option("--format", options->format,
                   "raw, qcow2, vmdk, vhd, vhdx or vdi; else as OUT's name says")
      ->type_name("FORMAT");
  verb->add_flag("--force", options->force, "Replace the file, or overwrite the device");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      const json done = export_disk(command, *options);
      // What is printed would end up in the disk.
      return options->out == "-" ? 0 : command.show(done, print_export);
    };
  });
}

void add_disc(CLI::App& group, Command& command) {
  auto options = std::make_shared<DiscOptions>();
  CLI::App* verb = add_verb(
      group, "disc", "Write a bootable disc of a version: no server is needed, writes go to memory",
      "  plydisk image disc debian rescue.iso\n"
      "  plydisk image disc debian:3 rescue.iso --force\n\n"
      "FILE is for a burner, or to be copied to a whole stick with dd, as it is.");
  verb->add_option("IMAGE[:VERSION]", options->what, "The version; else the published one")
      ->required();
  verb->add_option("FILE", options->out, "The disc: an ISO 9660 file")->required();
  verb->add_flag("--force", options->force, "Replace the file");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      return command.show(make_disc(command, *options), [](const json& disc) {
        if (!disc["remark"].is_null())
          std::cerr << "plydisk: the disk " << printable(disc["remark"]) << "\n";
        std::cout << "wrote " << printable(disc["image"]) << ":" << printable(disc["version"])
                  << " to " << printable(disc["out"]) << ", " << size_text(disc["size"])
                  << "; the disc is called " << printable(disc["label"]) << "\n";
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
  CLI::Option* writes = verb->add_option("--writes", options->writes, image_writes_help);
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
  add_image_create(*group, command);
  CLI::App* list = add_verb(*group, "list", "List all images",
                            "  plydisk image list\n"
                            "  plydisk image list --json | jq -r '.[].name'");
  list->callback([&command] {
    command.run = [&command] {
      return command.show(command.call("image.list", json::object()), print_images);
    };
  });
  add_export(*group, command);
  add_disc(*group, command);
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
