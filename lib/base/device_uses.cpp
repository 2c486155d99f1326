#include "base/device_uses.hpp"

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>

#include "base/system_file.hpp"

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

// A line of MOUNTINFO:
// "id parent major:minor root mount-point options… - type source options".
struct Mount {
  std::string number, place, source;
  bool is_read_only = false;  // the file system, for all who have it mounted
};

std::vector<Mount> read_mounts(const fs::path& file) {
  std::vector<Mount> mounts;
  for (const auto& row : read_rows(file)) {
    if (row.size() < 5) continue;
    Mount mount{row[2], row[4], {}};
    for (std::size_t i = 5; i + 2 < row.size(); ++i) {
      if (row[i] != "-") continue;
      mount.source = row[i + 2];
      mount.is_read_only = i + 3 < row.size() && (row[i + 3] + ",").starts_with("ro,");
      break;
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

}  // namespace

std::vector<fs::path> list_directory(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed))
    entries.push_back(it->path());
  return entries;
}

std::vector<DevicePart> device_parts(const fs::path& directory) {
  const auto number = read_if_there(directory / "dev");
  if (!number) return {};
  std::map<unsigned long, DevicePart> partitions;
  for (const auto& entry : list_directory(directory)) {
    const auto place = read_if_there(entry / "partition");
    const auto part_number = read_if_there(entry / "dev");
    if (place && part_number)
      partitions[std::strtoul(place->c_str(), nullptr, 10)] = {entry.filename().string(),
                                                               *part_number, entry};
  }
  std::vector<DevicePart> parts{{directory.filename().string(), *number, directory}};
  for (auto& entry : partitions) parts.push_back(std::move(entry.second));
  return parts;
}

std::vector<DeviceUse> uses_of(const SystemRoots& roots, const std::vector<DevicePart>& parts) {
  std::vector<DeviceUse> uses;
  const auto mounts = read_mounts(roots.proc / "self/mountinfo");
  const auto swaps = read_rows(roots.proc / "swaps");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string path = (roots.dev / parts[i].name).string();
    for (const Mount& mount : mounts)
      // Btrfs and overlays have a device number of their own.
      if (mount.number == parts[i].number || mount.source == path)
        uses.push_back(
            {path + " is mounted at " + mount.place + ": unmount it", i, mount.is_read_only});
    for (const auto& row : swaps)
      if (!row.empty() && row[0] == path)
        uses.push_back({path + " is swap: take it away with swapoff", i, false});
    for (const auto& holder : list_directory(parts[i].directory / "holders")) {
      const std::string name = holder.filename().string();
      const auto mapped = read_if_there(roots.sys / "block" / name / "dm/name");
      uses.push_back(
          {path + " is part of /dev/" + (mapped ? "mapper/" + *mapped : name), i, false});
    }
  }
  return uses;
}

std::vector<std::string> loops_of(const SystemRoots& roots, const std::string& file) {
  std::vector<std::string> names;
  for (const auto& block : list_directory(roots.sys / "block"))
    if (read_if_there(block / "loop/backing_file") == file)
      names.push_back(block.filename().string());
  return names;
}

}  // namespace plydisk
