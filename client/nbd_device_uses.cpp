// Who uses a device, processes too.
#include <fcntl.h>

#include <cctype>
#include <fstream>
#include <set>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/system_file.hpp"
#include "nbd_device.hpp"

namespace plydisk {

namespace fs = std::filesystem;

namespace {

// A name that the owner of a process has chosen is no name to print as it is.
std::string process_name(const fs::path& process) {
  std::ifstream in(process / "comm");
  std::string name;
  std::getline(in, name);
  for (char& c : name)
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';
  return name.empty() ? "?" : name;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

using Paths = std::vector<std::string>;

void add_processes(const fs::path& proc, const Paths& paths, std::vector<std::string>& uses) {
  for (const auto& process : list_directory(proc)) {
    if (!is_number(process.filename().string())) continue;
    std::set<std::string> opened;
    for (const auto& descriptor : list_directory(process / "fd")) {
      std::error_code ignored;
      opened.insert(fs::read_symlink(descriptor, ignored).string());
    }
    for (const auto& path : paths)
      if (opened.contains(path))
        uses.push_back("process " + process.filename().string() + " (" + process_name(process) +
                       ") has " + path + " open");
  }
}

}  // namespace

std::vector<std::string> NbdDevice::uses() const {
  const std::vector<DevicePart> disk = parts();
  std::vector<std::string> uses;
  for (auto& use : uses_of(roots_, disk)) uses.push_back(std::move(use.sentence));
  Paths paths;
  for (const DevicePart& part : disk) paths.push_back((roots_.dev / part.name).string());
  for (const auto& path : paths)
    for (const auto& loop : loops_of(roots_, path))
      uses.push_back(path + " is the file of /dev/" + loop + ": detach it with losetup -d");
  add_processes(roots_.proc, paths, uses);
  // Whoever claims a partition, or the disk, keeps others from claiming the disk.
  if (uses.empty()) {
    const UniqueFd claim(::open(path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    if (!claim && errno == EBUSY)
      uses.push_back(path() + " is in use where this process can't see it: in a container?");
  }
  return uses;
}

void NbdDevice::throw_in_use(const std::vector<std::string>& uses) const {
  std::string list;
  for (const auto& use : uses) list += (list.empty() ? ": " : ", ") + use;
  throw Error(EBUSY, path() + " is in use" + list);
}

}  // namespace plydisk
