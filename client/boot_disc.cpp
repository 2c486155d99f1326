#include "boot_disc.hpp"

#include <fcntl.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iostream>
#include <vector>

#include "base/device_uses.hpp"
#include "base/error.hpp"
#include "boot/disc.hpp"
#include "capture/program_view.hpp"
#include "output.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr const char* medium_place = "/medium";
constexpr const char* packed_place = "/packed";

// Disks and partitions, those that are whole first: a stick has the disc from its first byte on.
std::vector<std::string> devices_to_look_at() {
  std::vector<std::pair<bool, std::string>> found;
  for (const fs::path& entry : list_directory("/sys/class/block")) {
    const std::string name = entry.filename();
    static constexpr std::array others{"loop", "ram", "zram", "nbd", "fd"};
    if (std::ranges::none_of(others, [&](const char* other) { return name.starts_with(other); }))
      found.emplace_back(fs::exists(entry / "partition"), name);
  }
  std::ranges::sort(found);
  std::vector<std::string> names;
  for (const auto& [is_partition, name] : found) names.push_back(name);
  return names;
}

// Why nothing can be read in a drive; empty: it may be. The kernel closes the tray of a drive that
// is opened to be read, and people want to put a disc in.
std::string trouble_of_drive(const std::string& device) {
  const UniqueFd drive(::open(device.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  switch (drive ? ::ioctl(drive.get(), CDROM_DRIVE_STATUS, CDSL_CURRENT) : -1) {
    case CDS_NO_DISC:
      return "is empty";
    case CDS_TRAY_OPEN:
      return "is open";
    case CDS_DRIVE_NOT_READY:
      return "is getting ready";
    default:
      return {};  // or it is no optical drive
  }
}

struct FoundDisc {
  fs::path device;
  DiscVolume volume;
};

class DiscSearch {
 public:
  DiscSearch() {
    for (const std::string& name : devices_to_look_at()) look_at("/dev/" + name);
  }

  // What the sentence says of the drives changes as they get ready.
  FoundDisc find(const std::string& label) const {
    std::vector<FoundDisc> fitting;
    for (const FoundDisc& disc : discs_) {
      const bool is_copy = std::ranges::any_of(
          fitting, [&](const FoundDisc& other) { return other.volume.label == disc.volume.label; });
      if (!is_copy && (label.empty() || disc.volume.label == label)) fitting.push_back(disc);
    }
    if (fitting.size() == 1) return fitting.front();
    if (fitting.empty())
      throw Error(ENOMEDIUM, "the disc " + (label.empty() ? "of plydisk" : label) +
                                 " is in no drive: put it in" + what_is_there());
    throw Error(ENOTUNIQ,
                "there are several discs: leave one in, or name it on the kernel's "
                "command line, as in plydisk=disc:" +
                    fitting.front().volume.label + what_is_there());
  }

 private:
  void look_at(const std::string& device) {
    if (const std::string trouble = trouble_of_drive(device); !trouble.empty()) {
      remarks_.push_back(device + " " + trouble);
      return;
    }
    try {
      const File medium = File::open(device, O_RDONLY);
      const auto volume = read_disc_volume(medium);
      if (!volume) return;
      remarks_.push_back(device + " has " + volume->label);
      discs_.push_back({device, *volume});
    } catch (const Error& error) {
      // A reader for cards, mostly.
      remarks_.push_back(error.code() == ENOMEDIUM ? device + " is empty" : error.what());
    }
  }

  std::string what_is_there() const {
    std::string text;
    for (const std::string& remark : remarks_) text += (text.empty() ? " (" : "; ") + remark;
    return text.empty() ? "" : text + ")";
  }

  std::vector<FoundDisc> discs_;
  std::vector<std::string> remarks_;
};

[[noreturn]] void throw_damaged(const FoundDisc& disc, const std::string& what) {
  throw Error(EUCLEAN, "the disc " + disc.volume.label + " in " + disc.device.string() + " " +
                           what + ": clean it, or write it again");
}

void mount_read_only(const std::string& device, const char* place, const char* type) {
  fs::create_directories(place);
  if (::mount(device.c_str(), place, type, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) !=
      0)
    throw_errno("cannot mount " + device);
}

void require_whole(const FoundDisc& disc) {
  const std::uint64_t size = File::open(disc.device, O_RDONLY).size();
  if (size < disc.volume.size)
    throw_damaged(
        disc, "is not all there, " + format_size(size) + " of " + format_size(disc.volume.size));
}

}  // namespace

MountedDisc mount_disc(const std::string& label) {
  const FoundDisc disc = DiscSearch().find(label);
  require_whole(disc);
  try {
    mount_read_only(disc.device, medium_place, "iso9660");
    const File packed = File::open(fs::path(medium_place) / disc_folder / disc_packed, O_RDONLY);
    // The mount keeps it.
    const LoopDevice loop(packed.path(), {0, packed.size()}, /*is_read_only=*/true);
    mount_read_only(loop.path(), packed_place, "squashfs");
    const MountedDisc mounted{disc.volume.label, disc.device, fs::path(packed_place) / disc_disk};
    File::open(mounted.disk, O_RDONLY);
    return mounted;
  } catch (const Error& error) {
    unmount_disc("/");
    throw_damaged(disc, std::string("can't be read: ") + error.what());
  }
}

void check_disc(const MountedDisc& disc) {
  const fs::path folder = fs::path(medium_place) / disc_folder;
  const FoundDisc found{disc.medium, {disc.label, 0}};
  unsigned told = 0;
  std::string hash;
  try {
    hash = hash_of_file(File::open(folder / disc_packed, O_RDONLY), [&told](std::uint64_t done,
                                                                            std::uint64_t total) {
      const auto tenths = static_cast<unsigned>(done * 10 / total);
      if (tenths == told) return;
      told = tenths;
      std::cout << "plydisk: " << tenths * 10 << " % of the disc are checked\n" << std::flush;
    });
    if (hash == read_text_file(folder / disc_hash)) return;
  } catch (const Error& error) {
    throw_damaged(found, std::string("can't be read: ") + error.what());
  }
  throw_damaged(found, "is not what was written");
}

bool unmount_disc(const fs::path& root) noexcept {
  for (const char* const place : {packed_place, medium_place}) {
    const fs::path path = root / (place + 1);
    if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT)
      return false;
  }
  return true;
}

}  // namespace plydisk
