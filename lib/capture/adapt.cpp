#include "capture/adapt.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "base/error.hpp"
#include "base/program.hpp"
#include "capture/program_view.hpp"
#include "filesystem/ext_tree.hpp"

namespace plydisk {

namespace {

// The machine that an ELF program is for, from its head.
unsigned machine_of(const std::string& head) {
  if (head.size() < 20 || !head.starts_with("\x7f"
                                            "ELF"))
    return 0;
  return static_cast<unsigned char>(head[18]) | static_cast<unsigned char>(head[19]) << 8U;
}

unsigned machine_of_this_program() {
  std::string head(20, '\0');
  File::open("/proc/self/exe", O_RDONLY).read(head.data(), head.size(), 0);
  return machine_of(head);
}

void require_initramfs_maker(const ExtTree& tree, const std::string& name) {
  const auto has_program = [&](const std::string& program) {
    static constexpr std::array folders{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"};
    return std::any_of(folders.begin(), folders.end(),
                       [&](const char* folder) { return tree.has(folder + program); });
  };
  if (!has_program("update-initramfs") && !has_program("dracut"))
    throw Error(ENOPKG, "--adapt: the system on " + name +
                            " lacks initramfs-tools and dracut; install one of them there (apt "
                            "install initramfs-tools), and capture the disk then");
  const unsigned machine = machine_of(tree.read("/bin/sh", 20));
  if (machine != machine_of_this_program())
    throw Error(ENOEXEC, "--adapt: the system on " + name +
                             " is for processors of another kind than this machine's, which can't "
                             "build its initramfs; capture it on a machine of its kind");
}

// What fstab has at a mount point: "UUID=…"; empty if there is no such line.
std::string fstab_source(const std::string& fstab, const std::string& place) {
  std::istringstream lines(fstab);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string source, at;
    if (words >> source >> at && source.front() != '#' && at == place) return source;
  }
  return {};
}

std::string name_of(const PlannedPartition& partition) {
  return partition.number == 0 ? "the disk" : "partition " + std::to_string(partition.number);
}

}  // namespace

Adaptation::Adaptation(const CaptureSource& source, const CapturePlan& plan, std::string uri,
                       std::filesystem::path scripts)
    : plan_(plan), uri_(std::move(uri)), scripts_(std::move(scripts)) {
  constexpr const char* harmless =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:/[]";
  if (uri_.find_first_not_of(harmless) != uri_.npos)
    throw Error(EINVAL, "--adapt: the kernel's command line can't have " + uri_);
  if (::geteuid() != 0)
    throw Error(EPERM, "--adapt mounts the copy, and that is for root: run this as root");
  std::vector<std::size_t> roots;
  for (std::size_t i = 0; i < plan.partitions.size(); ++i) {
    const PlannedPartition& partition = plan.partitions[i];
    if (partition.method != "bitmap") continue;
    const ExtFileSystem file_system(
        [&](void* buffer, std::size_t length, std::uint64_t offset) {
          source.read(buffer, length, offset);
        },
        partition.range.begin, partition.range.length());
    const ExtTree tree(file_system);
    const std::string fstab = tree.read("/etc/fstab", 64 << 10);
    if (fstab.empty() || !tree.has("/etc/os-release")) continue;
    roots.push_back(i);
    require_initramfs_maker(tree, name_of(partition));
    if (!fstab_source(fstab, "/usr").empty())
      throw Error(EOPNOTSUPP, "--adapt: the system on " + name_of(partition) +
                                  " has /usr on a file system of its own, which is not supported");
    const std::string boot = fstab_source(fstab, "/boot");
    if (boot.empty()) continue;
    const auto found = std::find_if(plan.partitions.begin(), plan.partitions.end(),
                                    [&](const PlannedPartition& other) {
                                      return !other.uuid.empty() && boot == "UUID=" + other.uuid;
                                    });
    if (found == plan.partitions.end())
      throw Error(EOPNOTSUPP, "--adapt: the system on " + name_of(partition) + " has /boot on " +
                                  boot +
                                  ", which is on no partition of this disk; name it by "
                                  "UUID= in its /etc/fstab");
    boot_ = static_cast<std::size_t>(found - plan.partitions.begin());
  }
  if (roots.empty())
    throw Error(ENOENT, "--adapt: " + source.name() +
                            " has no Linux system on ext4 that is clean and can be read; leave "
                            "the option out");
  if (roots.size() > 1)
    throw Error(EOPNOTSUPP, "--adapt: " + source.name() +
                                " has several Linux systems, and only one can be adapted");
  root_ = roots.front();
}

void Adaptation::run(const std::filesystem::path& disk) const {
  const PlannedPartition& root = plan_.partitions[root_];
  const auto list = disk.parent_path() / "uuids";
  std::string uuids = "root " + root.uuid + "\n";
  for (const PlannedPartition& partition : plan_.partitions)
    if (!partition.uuid.empty())
      uuids += std::to_string(partition.number) + " " + partition.uuid + "\n";
  write_text_file(list, uuids);
  {
    const LoopDevice root_device(disk.string(), root.range, false);
    std::optional<LoopDevice> boot_device;
    if (boot_) boot_device.emplace(disk.string(), plan_.partitions[*boot_].range, false);
    const ProgramResult result = run_program(
        {"unshare", "--mount", "--propagation", "slave", (scripts_ / "adapt-root").string(),
         root_device.path(), boot_device ? boot_device->path() : "-", uri_, list.string()});
    if (result.status != 0)
      throw Error(EIO, "--adapt: the system on " + name_of(root) +
                           " can't be adapted: " + result.complaint());
  }
  std::filesystem::remove(list);
  File::open(disk, O_RDWR).sync();
}

}  // namespace plydisk
