// Who uses a block device. The kernel has no single list of it: this goes through all that keep
// one. What goes on in other mount namespaces is not seen.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace plydisk {

// Where a system's files are; a test has its own.
struct SystemRoots {
  std::filesystem::path proc = "/proc", sys = "/sys", dev = "/dev";
};

// A disk, or one of its partitions.
struct DevicePart {
  std::string name;                 // "nbd3p1"
  std::string number;               // "43:97"
  std::filesystem::path directory;  // in /sys
};

// The device of this directory in /sys first, then its partitions in the order of their numbers.
// Empty: there is no such device.
std::vector<DevicePart> device_parts(const std::filesystem::path& directory);

struct DeviceUse {
  std::string sentence;  // "/dev/sda1 is mounted at /mnt: unmount it"
  std::size_t part;      // its place in the parts
  bool is_read_only;     // a mounted file system that is not written
};
// Mounted file systems, swap, device mapper and the like.
std::vector<DeviceUse> uses_of(const SystemRoots& roots, const std::vector<DevicePart>& parts);

// The names of the loop devices of a file, such as "loop3".
std::vector<std::string> loops_of(const SystemRoots& roots, const std::string& file);

// The entries of a directory; none if it is not there, may not be looked into, or goes away
// meanwhile: all that is usual in /proc and /sys.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& directory);

}  // namespace plydisk
