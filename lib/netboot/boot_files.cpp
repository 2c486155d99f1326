#include "netboot/boot_files.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.hpp"
#include "base/units.hpp"
#include "building/kernels.hpp"
#include "capture/disk_layout.hpp"
#include "capture/ext_map.hpp"
#include "netboot/grub_config.hpp"

namespace plydisk {

namespace {

constexpr unsigned longest_config = 1 << 20;       // bytes
constexpr std::uint64_t most_bytes = 2ULL << 30U;  // of a file

// A file system that a system boots from.
struct BootFolder {
  Range range;
  std::string folder;  // of the kernels: "/boot", or "" on a partition of their own
  std::string doubt;
  std::string config;  // GRUB's
  Kernel kernel;
  ExtTree::RegularFile kernel_file, initrd_file;
};

bool is_root(const ExtTree& tree) {
  static constexpr std::array marks{"/etc/os-release", "/etc/fstab", "/sbin/init",
                                    "/usr/lib/systemd/systemd"};
  return std::ranges::any_of(marks, [&](const char* mark) { return tree.has(mark); });
}

// What capture --adapt installs, or who follows the manual.
bool has_initramfs_part(const ExtTree& tree) {
  static constexpr std::array parts{"/usr/share/initramfs-tools/hooks/plydisk",
                                    "/etc/initramfs-tools/hooks/plydisk",
                                    "/usr/lib/dracut/modules.d/95plydisk/module-setup.sh"};
  return std::ranges::any_of(parts, [&](const char* part) { return tree.has(part); });
}

bool find_kernel(const ExtTree& tree, BootFolder& found) {
  for (const Kernel& kernel : kernels_among(tree.names(found.folder + "/"))) {
    if (kernel.initrd.empty()) continue;
    const auto kernel_file = tree.regular_file(found.folder + "/" + kernel.kernel);
    const auto initrd_file = tree.regular_file(found.folder + "/" + kernel.initrd);
    if (!kernel_file || !initrd_file) continue;
    found.kernel = kernel;
    found.kernel_file = *kernel_file;
    found.initrd_file = *initrd_file;
    for (const char* folder : {"/grub/", "/grub2/"})
      if (found.config.empty())
        found.config = tree.read(found.folder + folder + "grub.cfg", longest_config);
    return true;
  }
  return false;
}

// A root with kernels comes before a partition for /boot, of which an old one may be left.
class Search {
 public:
  explicit Search(const DiskReader& disk) : disk_(disk) {
    for (const Partition& partition : read_layout(disk.read, disk.size, sector_size).partitions)
      if (partition.type.starts_with("ext")) look_at(partition);
  }

  BootFiles result() const {
    if (!found_) throw Error(ENOEXEC, complaint());
    const auto words = grub_arguments(found_->config, found_->kernel.kernel);
    BootFiles files;
    files.version = found_->kernel.version;
    files.arguments = netboot_arguments(words.value_or(std::vector<std::string>()), root_uuid_);
    files.file_system = found_->range;
    files.kernel = found_->kernel_file;
    files.initrd = found_->initrd_file;
    files.is_adapted = is_adapted_;
    files.doubt = found_->doubt;
    // A file may say that it is as long as it likes, and have nothing in it.
    if (files.kernel.size > most_bytes || files.initrd.size > most_bytes)
      throw Error(E2BIG, "has a kernel or an initrd that is too large for any station");
    return files;
  }

 private:
  void look_at(const Partition& partition) {
    BootFolder here;
    here.range = partition.range;
    here.range.end = std::min(here.range.end, disk_.size);
    try {
      const ExtFileSystem file_system(disk_.read, here.range.begin, here.range.length());
      const ExtTree tree(file_system);
      here.doubt = ext_trouble(file_system);
      const bool is_a_root = is_root(tree);
      here.folder = is_a_root ? "/boot" : "";
      const bool is_better = !found_ || (is_a_root && !has_root_with_kernel_);
      const bool has_kernel = is_better && find_kernel(tree, here);
      if (has_kernel) found_ = std::move(here);
      if (is_a_root && (root_uuid_.empty() || (has_kernel && !has_root_with_kernel_))) {
        root_uuid_ = partition.uuid;
        is_adapted_ = has_initramfs_part(tree);
      }
      has_root_with_kernel_ |= is_a_root && has_kernel;
    } catch (const Error& error) {
      // What is wrong with one file system leaves others as they are.
      if (error.code() != EUCLEAN && error.code() != EINVAL) throw;
      trouble_ = error.what();
    }
  }

  std::string complaint() const {
    if (!trouble_.empty()) return "can't be read: " + trouble_;
    return root_uuid_.empty() ? "has no Linux system on ext2, ext3 or ext4"
                              : "has no kernel with an initrd in /boot";
  }

  const DiskReader& disk_;
  std::optional<BootFolder> found_;
  bool has_root_with_kernel_ = false, is_adapted_ = false;
  std::string root_uuid_, trouble_;
};

}  // namespace

BootFiles find_boot_files(const DiskReader& disk) { return Search(disk).result(); }

void read_boot_file(const DiskReader& disk, const BootFiles& files,
                    const ExtTree::RegularFile& file,
                    const std::function<void(const void* data, std::size_t length)>& fn) {
  const ExtFileSystem file_system(disk.read, files.file_system.begin, files.file_system.length());
  ExtTree(file_system).for_each_part(file, fn);
}

}  // namespace plydisk
