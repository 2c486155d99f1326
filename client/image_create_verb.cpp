#include <fcntl.h>

#include <iostream>
#include <memory>

#include "base/error.hpp"
#include "building/tree_disk.hpp"
#include "capture_folder.hpp"
#include "command.hpp"
#include "image_source.hpp"
#include "interruption.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

struct CreateOptions {
  std::string name, size, from, format, tree, file_system, description, writes;
  bool link = false, bootable = false;
};

std::uint64_t size_option(const std::string& text) {
  try {
    return parse_disk_size(text);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

void say(const std::string& remark) {
  if (!remark.empty()) std::cerr << "plydisk: " << printable(std::string_view(remark)) << "\n";
}

// The disk is built in the store, and then taken over where it lies.
json create_from_tree(const Command& command, const CreateOptions& options, const json& params) {
  const auto path = image_folder(command, params);
  TreeDiskOptions what;
  what.tree = absolute_path(options.tree);
  if (!options.file_system.empty()) what.file_system = options.file_system;
  if (!options.size.empty()) what.size = size_option(options.size);
  what.bootable = options.bootable;
  const TreeDisk tree(what);
  for (const std::string& remark : tree.remarks()) say(remark);
  const CaptureFolder folder(path);
  if (!std::filesystem::is_empty(folder.path()))
    throw Error(EEXIST, "there is a disk that was not finished in " + folder.path().string() +
                            ": finish its capture, or remove it with: plydisk gc --unknown");
  try {
    const Interruption interruption;
    const File disk = File::open(folder.path() / "disk", O_RDWR | O_CREAT | O_EXCL);
    tree.build(disk.path());
    interruption.check();
    disk.sync();
    sync_directory(folder.path());
    return command.call("image.adopt", params);
  } catch (...) {
    folder.remove();
    throw;
  }
}

json create_image(const Command& command, const CreateOptions& options) {
  json params{{"name", options.name}};
  if (!options.description.empty()) params["description"] = options.description;
  if (!options.writes.empty()) params["writes"] = options.writes;
  if (!options.tree.empty()) return create_from_tree(command, options, params);
  if (options.from.empty()) {
    params["size"] = size_option(options.size);
    return command.call("image.create", params);
  }
  if (options.link) params["link"] = true;
  const Interruption interruption;
  const ImageSource source(options.from, options.format, options.link);
  say(source.remark());
  params["from"] = source.from();
  return command.call("image.create", params, &interruption);
}

}  // namespace

void add_image_create(CLI::App& group, Command& command) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* verb =
      add_verb(group, "create", "Make an image: an empty disk, or a copy of a file or block device",
               "  plydisk image create scratch --size 10G\n"
               "  plydisk image create debian --from /tmp/debian.img --description \"Debian 12\"\n"
               "  plydisk image create windows --from windows.vhdx\n"
               "  plydisk image create room4 --tree /srv/room4 --bootable\n"
               "  plydisk image create rescue --from /dev/sr0 --link\n"
               "  plydisk image create far --from nbd://server/disk --link");
  verb->add_option("NAME", options->name, "The name of the image")->required();
  CLI::Option_group* source =
      verb->add_option_group("source", "Where its contents come from: one of");
  CLI::Option* size =
      source
          ->add_option("--size", options->size,
                       "An empty disk of this size, such as 10G or 512M; with --tree, how large it "
                       "is to be")
          ->type_name("SIZE");
  CLI::Option* from =
      source->add_option("--from", options->from, "A copy of this file, block device or NBD URI")
          ->type_name("PATH|URI")
          ->excludes(size);
  CLI::Option* tree =
      source->add_option("--tree", options->tree, "A disk with a file system made of this folder")
          ->type_name("DIR")
          ->excludes(from);
  source->require_option(1, 2);
  verb->add_option("--fs", options->file_system,
                   "The file system: ext4 (the default), xfs, btrfs or vfat")
      ->type_name("FS")
      ->needs(tree);
  verb->add_flag("--bootable", options->bootable,
                 "With GRUB, for BIOS and UEFI, to start the kernel that the tree has")
      ->needs(tree);
  verb->add_option("--format", options->format,
                   "What --from is: raw, qcow2, vmdk, vhd, vhdx or vdi; else as its name says")
      ->type_name("FORMAT")
      ->needs(from);
  verb->add_flag("--link", options->link, "Serve --from where it lies instead of copying it")
      ->needs(from);
  verb->add_option("--description", options->description, "What the image is for")
      ->type_name("TEXT");
  verb->add_option("--writes", options->writes, image_writes_help)->type_name("DEST");
  verb->callback([&command, options] {
    command.run = [&command, options] {
      return command.show(create_image(command, *options), [](const json& image) {
        std::cout << "made the image " << printable(image["name"]) << ", "
                  << size_text(image["size"]) << "\n";
      });
    };
  });
}

}  // namespace plydisk
