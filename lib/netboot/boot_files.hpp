// The kernel and the initrd on a disk, for those who load them from elsewhere.
#pragma once

#include <functional>
#include <string>

#include "base/progress.hpp"
#include "capture/ranges.hpp"
#include "filesystem/ext_tree.hpp"
#include "filesystem/files.hpp"

namespace plydisk {

struct BootFiles {
  std::string version;    // of the kernel, as its file is called: "6.1.0-18-amd64"
  std::string arguments;  // for the kernel: where the root is, and what its boot loader gives it
  Range file_system;      // bytes of the disk, of the one that has the files
  ExtTree::RegularFile kernel, initrd;
  // Whether the system makes its initramfs so that it attaches a disk of plydisk.
  bool is_adapted = false;
  std::string doubt;  // why they may not be what the disk's system has; no subject; empty: none

  std::uint64_t bytes() const { return kernel.size + initrd.size; }
  // Another text if the files are others, as far as their inodes tell.
  std::string state() const { return kernel.state + "-" + initrd.state; }
};

// The newest kernel that has an initrd, in /boot of a root on ext2, ext3 or ext4, or on a partition
// for /boot. Throws Error: ENOEXEC, with a sentence without a subject, if there is none, or nothing
// says what its root is; E2BIG if they are larger than any station's memory; what `disk` throws.
BootFiles find_boot_files(const DiskReader& disk);

// Calls fn with each part of one of the files.
void read_boot_file(const DiskReader& disk, const BootFiles& files,
                    const ExtTree::RegularFile& file,
                    const std::function<void(const void* data, std::size_t length)>& fn);

}  // namespace plydisk
