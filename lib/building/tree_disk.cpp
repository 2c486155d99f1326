#include "building/tree_disk.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cctype>
#include <memory>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/program.hpp"
#include "base/uuid.hpp"
#include "building/file_systems.hpp"
#include "building/grub.hpp"

namespace plydisk {

namespace {

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// A FAT has the first eight digits alone.
std::string uuid_as_searched(const std::string& kind, const std::string& uuid) {
  return kind == "vfat" ? upper(uuid.substr(0, 4) + "-" + uuid.substr(4, 4)) : uuid;
}

}  // namespace

struct TreeDisk::Plan {
  TreeDiskOptions options;
  Tree tree;
  std::string fstab;  // for the image; empty: what is in the tree
  std::string uuid;   // of the root file system
  Layout layout;
  GrubTask grub;
  std::string menu;
};

TreeDisk::TreeDisk(TreeDiskOptions options) : plan_(std::make_unique<Plan>()) {
  Plan& plan = *plan_;
  plan.options = std::move(options);
  const std::string& kind = plan.options.file_system;
  require_file_system(kind);
  require_installed({{"sfdisk", "fdisk"}}, "to make a partition table");
  if (plan.options.bootable) require_grub();
  plan.tree = examine_tree(plan.options.tree);
  require_fits(kind, plan.tree);

  const RootNames names = root_names(plan.tree.root);
  plan.uuid = names.file_system_uuid.empty() ? random_uuid() : names.file_system_uuid;
  const std::uint64_t least = disk_size_for(least_length(kind, plan.tree), plan.options.bootable);
  const std::uint64_t size = plan.options.size.value_or(
      disk_size_for(length_with_room(kind, plan.tree), plan.options.bootable));
  if (size < least)
    throw Error(ENOSPC, "a disk of " + std::to_string(size) + " bytes is too small for the tree: " +
                            "it needs at least " + std::to_string(least));
  plan.layout = lay_out(size, plan.options.bootable,
                        names.partition_uuid.empty() ? random_uuid() : names.partition_uuid);
  const std::string searched = uuid_as_searched(kind, plan.uuid);
  // Without it the system leaves its root read-only.
  if (plan.options.bootable && !names.has_fstab_entry &&
      std::filesystem::is_directory(plan.tree.root / "etc"))
    plan.fstab = names.fstab + (names.fstab.empty() || names.fstab.ends_with('\n') ? "" : "\n") +
                 "UUID=" + searched + " / " + kind + " defaults 0 1\n";
  if (plan.options.bootable) {
    plan.grub = {{}, plan.layout, searched, random_uuid()};
    plan.menu = grub_menu(plan.tree, plan.grub);
  }
}

TreeDisk::~TreeDisk() = default;

std::vector<std::string> TreeDisk::remarks() const {
  std::vector<std::string> remarks;
  if (::geteuid() != 0 && !plan_->tree.has_other_owners && plan_->options.file_system != "vfat")
    remarks.push_back("all files of the image belong to user " + std::to_string(::geteuid()) +
                      ", as they do in " + plan_->tree.root.string() +
                      "; a system's tree is to be unpacked, and its image made, as root");
  // mkfs.btrfs 6.2 writes 0, 0 instead.
  if (plan_->options.file_system == "btrfs" && plan_->tree.device)
    remarks.push_back("btrfs as it is made here keeps no numbers of devices, such as " +
                      plan_->tree.device->string() +
                      ": they are for who has /dev mounted, as systems have");
  return remarks;
}

void TreeDisk::build(const std::filesystem::path& disk) const {
  File::open(disk, O_RDWR).truncate(plan_->layout.size);
  write_partition_table(plan_->layout, disk);
  make_file_system({plan_->options.file_system, plan_->uuid, disk, plan_->layout.root}, plan_->tree,
                   plan_->fstab);
  if (!plan_->options.bootable) return;
  GrubTask grub = plan_->grub;
  grub.disk = disk;
  install_grub(grub, plan_->menu);
}

}  // namespace plydisk
