// What other programs are given to read a part of a disk by: a path.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.hpp"
#include "capture/ranges.hpp"

namespace plydisk {

// A loop device over a range of a file or block device, which goes with this. Throws Error: EACCES
// or EPERM for who is not root, ENOENT where the kernel has no loop devices.
class LoopDevice {
 public:
  LoopDevice(const std::string& path, Range range, bool is_read_only);
  const std::string& path() const noexcept { return device_.path(); }

 private:
  File device_;  // the last one to close it takes it apart
};

// An export of an NBD server as a file, read-only, by nbdfuse; goes with this, or with this
// process. Throws Error: ENOENT if there is no nbdfuse.
class NbdFile {
 public:
  explicit NbdFile(const std::string& uri);
  ~NbdFile();
  NbdFile(const NbdFile&) = delete;
  NbdFile& operator=(const NbdFile&) = delete;
  std::string path() const { return (folder_ / "disk").string(); }

 private:
  void end() noexcept;

  std::filesystem::path folder_;
  int process_ = -1;
};

}  // namespace plydisk
