// Bootable discs as boot/disc.hpp has them, in files: for a burner, or to be copied to a stick as
// they are. BIOS and UEFI start them from either. Functions throw Error.
//
// The disk is packed by squashfs, in pieces of 128 KiB by zstd: the kernel reads it in place, each
// piece at once and into the page cache, so that it takes no memory that can't be had back, and a
// drive that seeks slowly has half as much to read.
#pragma once

#include <filesystem>
#include <string>

#include "base/program.hpp"
#include "base/progress.hpp"
#include "base/temporary_folder.hpp"

namespace plydisk {

// ENOENT with what is missing.
void require_disc_tools();

// Packs a disk while its bytes are written to the descriptor, from the first to the last.
//
// While an object lives, SIGPIPE is ignored: a write fails with EPIPE once the packer has ended,
// and finish() says why it has. Thread safety: as Program.
class DiskPacker {
 public:
  explicit DiskPacker(const std::filesystem::path& output);
  ~DiskPacker();
  DiskPacker(const DiskPacker&) = delete;
  DiskPacker& operator=(const DiskPacker&) = delete;
  int descriptor() const noexcept { return pipe_.get(); }
  // All was written. Returns once the output is complete.
  void finish();

 private:
  const std::filesystem::path output_folder_;
  const TemporaryFolder folder_;
  Program program_;
  UniqueFd pipe_;
  void (*const sigpipe_before_)(int);
};

struct BootDiscTask {
  std::filesystem::path folder;  // a work folder, with plydisk/vmlinuz and plydisk/initrd
  std::filesystem::path packed;  // by DiskPacker
  std::filesystem::path output;  // an empty file
  std::string label;
  std::string title;      // in the menu
  std::string arguments;  // for the kernel, without those that are plydisk's
};
// GRUB's script.
std::string boot_disc_menu(const BootDiscTask& task);
// Writes the menu, and the hash of what is packed, into the folder, and all of it into the output.
// ENOSPC, before it begins, if that has no room.
void make_boot_disc(const BootDiscTask& task, const Progress& progress);

}  // namespace plydisk
