// What is decided before a disk is built of a folder.
#include <fstream>

#include "building/partitions.hpp"
#include "building/tree.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::TemporaryDirectory;

namespace {

void put_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("partitions lie one after the other on whole mebibytes, and leave room for the tables") {
  for (const bool bootable : {false, true}) {
    const std::uint64_t root = 100 << 20;
    const std::uint64_t size = disk_size_for(root, bootable);
    const Layout layout = lay_out(size, bootable, "uuid");
    CHECK(layout.root.length == root);
    CHECK(layout.root.offset + layout.root.length + (1 << 20) == size);
    CHECK(layout.bios_boot.has_value() == bootable);
    CHECK(layout.esp.has_value() == bootable);
    if (bootable) {
      CHECK(layout.bios_boot->offset == 1 << 20);
      CHECK(layout.esp->offset == layout.bios_boot->offset + layout.bios_boot->length);
      CHECK(layout.root.offset == layout.esp->offset + layout.esp->length);
    }
    // A size that is no whole number of them.
    CHECK(lay_out(size + 4096, bootable, "uuid").root.length == root);
    CHECK(error_of([&] { lay_out(1 << 20, bootable, "uuid"); }).code() == EINVAL);
  }
}

TEST_CASE("kernels are found with their initial file systems, the newest first") {
  const TemporaryDirectory directory;
  const auto boot = directory.path() / "boot";
  CHECK(find_kernels(directory.path()).empty());
  for (const char* name :
       {"vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-18-amd64", "vmlinuz-5.10.0", "vmlinuz-6.12",
        "initrd.img-6.1.0-18-amd64", "initramfs-6.12.img", "vmlinuz-\"; reboot", "vmlinuz"})
    put_file(boot / name, "x");
  const auto kernels = find_kernels(directory.path());
  REQUIRE(kernels.size() == 4);
  CHECK(kernels[0].kernel == "/boot/vmlinuz-6.12");
  CHECK(kernels[0].initrd == "/boot/initramfs-6.12.img");
  CHECK(kernels[1].version == "6.1.0-18-amd64");
  CHECK(kernels[1].initrd == "/boot/initrd.img-6.1.0-18-amd64");
  CHECK(kernels[2].version == "6.1.0-9-amd64");
  CHECK(kernels[2].initrd.empty());
  CHECK(kernels[3].version == "5.10.0");
}

TEST_CASE("a disk gets the names that its files have for it") {
  const std::string uuid = "01234567-89ab-cdef-0123-456789abcdef";
  const auto names_of = [&](const std::string& fstab, const std::string& menu) {
    const TemporaryDirectory directory;
    if (!fstab.empty()) put_file(directory.path() / "etc/fstab", fstab);
    if (!menu.empty()) put_file(directory.path() / "boot/grub/grub.cfg", menu);
    return root_names(directory.path());
  };
  CHECK_FALSE(names_of("", "").has_fstab_entry);
  CHECK_FALSE(names_of("# UUID=" + uuid + " / ext4\n/dev/sdb1 /home ext4\n", "").has_fstab_entry);
  CHECK(names_of("proc /proc proc\nUUID=" + uuid + " / ext4 ro 0 1\n", "").file_system_uuid ==
        uuid);
  const RootNames by_partition = names_of("PARTUUID=" + uuid + "\t/ ext4", "");
  CHECK(by_partition.partition_uuid == uuid);
  CHECK(by_partition.file_system_uuid.empty());
  CHECK(by_partition.has_fstab_entry);
  CHECK(names_of("/dev/sda1 / ext4", "").file_system_uuid.empty());
  CHECK(names_of("", "linux /vmlinuz root=UUID=$x\nlinux /vmlinuz root=UUID=" + uuid + " ro")
            .file_system_uuid == uuid);
}

TEST_CASE("a tree's size counts whole blocks, and a file with two names once") {
  const TemporaryDirectory directory;
  const auto& root = directory.path();
  put_file(root / "a/one", "1");
  std::filesystem::create_hard_link(root / "a/one", root / "two");
  std::filesystem::create_symlink("nowhere", root / "link");
  const Tree tree = examine_tree(root);
  CHECK(tree.entries == 4);
  CHECK(tree.bytes == 2 * 4096);
  CHECK(tree.link == root / "link");
  CHECK(tree.hard_link.has_value());
  CHECK_FALSE(tree.special);
  CHECK_FALSE(tree.space);
  CHECK(error_of([&] { examine_tree(root / "two"); }).code() == ENOTDIR);
  CHECK(error_of([&] { examine_tree(root / "nosuch"); }).code() == ENOTDIR);
}
