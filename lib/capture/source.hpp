// What is captured: a disk or a partition, in a file, a block device or at an NBD server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backing/backing.hpp"
#include "base/file.hpp"
#include "capture/program_view.hpp"
#include "capture/ranges.hpp"

namespace plydisk {

// Thread safety: read() and for_each_extent() from any thread.
class CaptureSource {
 public:
  // A path, or an NBD URI. Throws Error, EBUSY if the device is in use: mounted, swap, part of a
  // volume, or locked by another process; a file system that is mounted read-only is none. With
  // `force`, what is in use is noted in in_use().
  CaptureSource(const std::string& where, bool force);

  std::uint64_t size() const noexcept { return backing_->size(); }
  unsigned sector_bytes() const noexcept { return sector_bytes_; }
  // As it may be shown.
  std::string name() const;
  // The same as long as it is the same disk or file, and a file is not written.
  std::string identity() const;
  // Nobody writes it as long as it is there: a snapshot, or a read-only device.
  bool is_snapshot() const noexcept { return is_snapshot_; }
  const Ranges& in_use() const noexcept { return in_use_; }
  // Throws Error(EINVAL) if what is opened under this path, or NBD URI, is the source itself.
  void require_other(const std::string& target) const;

  void read(void* buffer, std::size_t length, std::uint64_t offset) const;
  void for_each_extent(Range range, const Backing::ExtentFn& fn) const;
  // A path by which a program reads that range and nothing else, as long as `loop` lives, and until
  // forget_paths(). Throws Error.
  std::string path_of(Range range, std::unique_ptr<LoopDevice>& loop);
  void forget_paths() { nbd_file_.reset(); }

 private:
  void claim_device(bool force);
  void claim_file(bool force);
  void refuse(const std::vector<std::string>& uses, bool force) const;

  std::string where_;
  std::shared_ptr<Backing> backing_;
  File file_;   // of a path
  File claim_;  // keeps others from mounting the device
  std::uint64_t file_bytes_ = 0;
  unsigned sector_bytes_ = 512;
  bool is_snapshot_ = false;
  Ranges in_use_;
  std::unique_ptr<NbdFile> nbd_file_;  // once a program needs one
};

}  // namespace plydisk
