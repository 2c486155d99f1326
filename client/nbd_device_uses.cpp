// Who uses a device. The kernel has no single list of it: this goes through all that keep one.
#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "nbd_device.hpp"
#include "system_file.hpp"

namespace plydisk {

namespace fs = std::filesystem;

namespace {

// Names in /proc have octal numbers for spaces and the like: "a\040b".
std::string unescape(std::string_view text) {
  std::string plain;
  const auto is_octal = [&text](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(i + 1) && is_octal(i + 2) &&
        is_octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::vector<std::string>> read_rows(const fs::path& file) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    auto& row = rows.emplace_back();
    for (std::string word; words >> word;) row.push_back(unescape(word));
  }
  return rows;
}

// A name that the owner of a process has chosen is no name to print as it is.
std::string process_name(const fs::path& process) {
  std::ifstream in(process / "comm");
  std::string name;
  std::getline(in, name);
  for (char& c : name)
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';
  return name.empty() ? "?" : name;
}

// What a directory has; nothing if it is not there, may not be looked into, or goes away meanwhile:
// all that is usual of other people's processes.
std::vector<fs::path> list(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed))
    entries.push_back(it->path());
  return entries;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

// MOUNTINFO is "id parent major:minor root mount-point options… - type source options".
bool is_mount_of(const std::vector<std::string>& row, const std::string& number,
                 const std::string& path) {
  if (row.size() < 5) return false;
  if (row[2] == number) return true;
  // Btrfs and overlays have a device number of their own.
  for (std::size_t i = 5; i + 2 < row.size(); ++i)
    if (row[i] == "-") return row[i + 2] == path;
  return false;
}

using Paths = std::vector<std::string>;

void add_loops(const fs::path& sys, const Paths& paths, std::vector<std::string>& uses) {
  for (const auto& block : list(sys / "block")) {
    const auto file = read_if_there(block / "loop/backing_file");
    if (file && std::find(paths.begin(), paths.end(), *file) != paths.end())
      uses.push_back(*file + " is the file of /dev/" + block.filename().string() +
                     ": detach it with losetup -d");
  }
}

void add_processes(const fs::path& proc, const Paths& paths, std::vector<std::string>& uses) {
  for (const auto& process : list(proc)) {
    if (!is_number(process.filename().string())) continue;
    std::set<std::string> opened;
    for (const auto& descriptor : list(process / "fd")) {
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
  std::vector<std::string> uses;
  Paths paths;
  const auto mounts = read_rows(roots_.proc / "self/mountinfo");
  const auto swaps = read_rows(roots_.proc / "swaps");
  for (const Part& part : parts()) {
    const std::string path = paths.emplace_back((roots_.dev / part.name).string());
    for (const auto& row : mounts)
      if (is_mount_of(row, part.number, path))
        uses.push_back(path + " is mounted at " + row[4] + ": unmount it");
    for (const auto& row : swaps)
      if (!row.empty() && row[0] == path)
        uses.push_back(path + " is swap: take it away with swapoff");
    for (const auto& holder : list(part.directory / "holders")) {
      const std::string name = holder.filename().string();
      const auto mapped = read_if_there(roots_.sys / "block" / name / "dm/name");
      uses.push_back(path + " is part of /dev/" + (mapped ? "mapper/" + *mapped : name));
    }
  }
  add_loops(roots_.sys, paths, uses);
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
