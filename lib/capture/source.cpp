#include "capture/source.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdlib>

#include "backing/nbd_backing.hpp"
#include "backing/nbd_uri.hpp"
#include "base/device_uses.hpp"
#include "base/error.hpp"
#include "base/program.hpp"
#include "base/system_file.hpp"
#include "capture/same_disk.hpp"

namespace plydisk {

namespace fs = std::filesystem;

namespace {

struct stat status_of_source(const File& file) {
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) throw_errno("cannot stat " + file.path());
  return info;
}

// Its folder in /sys, such as /sys/devices/…/sda/sda1.
fs::path system_folder(const struct stat& info) {
  return fs::canonical("/sys/dev/block/" + std::to_string(::major(info.st_rdev)) + ":" +
                       std::to_string(::minor(info.st_rdev)));
}

std::uint64_t attribute(const fs::path& file) {
  const auto text = read_if_there(file);
  return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

// A device-mapper snapshot says so in its table.
bool is_dm_snapshot(const fs::path& folder, const std::string& path) {
  if (!fs::exists(folder / "dm")) return false;
  try {
    return run_program({"dmsetup", "table", path}).output.find(" snapshot ") != std::string::npos;
  } catch (const Error&) {
    return false;  // without the program it has to be clean
  }
}

// Who writes to a file by its loop devices, all but one.
std::vector<std::string> uses_by_loops(const std::string& file, const std::string& but = "") {
  std::vector<std::string> uses;
  for (const std::string& loop : loops_of({}, file))
    for (const DeviceUse& use : uses_of({}, device_parts(fs::path("/sys/block") / loop)))
      if (!use.is_read_only && loop != but) uses.push_back(use.sentence);
  return uses;
}

}  // namespace

CaptureSource::CaptureSource(const std::string& where, bool force) : where_(where) {
  // A server that goes away for longer fails the capture, which can be gone on with.
  NbdOptions nbd;
  nbd.patience = std::chrono::minutes(1);
  backing_ = open_backing(where, nbd);
  if (is_nbd_uri(where)) return;
  file_ = File::open(where, O_RDONLY);
  file_bytes_ = file_.size();
  if (S_ISBLK(status_of_source(file_).st_mode))
    claim_device(force);
  else
    claim_file(force);
  ::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
}

void CaptureSource::claim_device(bool force) {
  int read_only = 0, sector = 0;
  if (::ioctl(file_.fd(), BLKSSZGET, &sector) == 0 && sector > 0)
    sector_bytes_ = static_cast<unsigned>(sector);
  const fs::path folder = system_folder(status_of_source(file_));
  is_snapshot_ = (::ioctl(file_.fd(), BLKROGET, &read_only) == 0 && read_only != 0) ||
                 is_dm_snapshot(folder, where_);
  const auto parts = device_parts(folder);
  std::vector<std::string> uses;
  bool is_mounted = false;
  for (const DeviceUse& use : uses_of({}, parts)) {
    is_mounted = true;
    if (use.is_read_only) continue;
    uses.push_back(use.sentence);
    // Of a partition this is relative to the disk, and the partition is the whole.
    const std::uint64_t begin =
        use.part == 0 ? 0 : attribute(parts[use.part].directory / "start") * 512;
    in_use_.add({begin, begin + attribute(parts[use.part].directory / "size") * 512});
  }
  if (uses.empty() && !is_mounted) {
    try {
      claim_ = File::open(where_, O_RDONLY | O_EXCL);
    } catch (const Error& error) {
      if (error.code() != EBUSY) throw;
      uses.push_back(where_ + " is in use where this process can't see it");
      in_use_.add({0, size()});
    }
  }
  // The kernel does not see that a partition may be mounted by another device of the same file.
  for (const fs::path& disk : {folder, folder.parent_path()})
    if (const auto file = read_if_there(disk / "loop/backing_file"))
      for (const std::string& use : uses_by_loops(*file, disk.filename())) {
        uses.push_back(use);
        in_use_.add({0, size()});
      }
  refuse(uses, force);
}

void CaptureSource::claim_file(bool force) {
  const std::vector<std::string> uses = uses_by_loops(fs::canonical(where_).string());
  if (!uses.empty()) in_use_.add({0, size()});
  refuse(uses, force);
}

void CaptureSource::refuse(const std::vector<std::string>& uses, bool force) const {
  if (uses.empty() || force) return;
  std::string list;
  for (const auto& use : uses) list += (list.empty() ? ": " : "; ") + use;
  throw Error(EBUSY, where_ + " is in use" + list +
                         ". Or capture a snapshot of it; --force captures it although it may "
                         "change meanwhile");
}

void CaptureSource::require_other(const std::string& target) const {
  std::error_code is_none;
  const bool is_same = is_nbd_uri(target) ? is_same_export(where_, target) ||
                                                (file_ && is_written_by_server_of(target, file_))
                                          : file_ && fs::equivalent(where_, target, is_none);
  if (is_same)
    throw Error(EINVAL, name() + " would be captured into itself: " + without_token(target) +
                            " is the same disk, and would be overwritten while it is read");
}

std::string CaptureSource::name() const { return without_token(where_); }

std::string CaptureSource::identity() const {
  std::string text = name() + " " + std::to_string(size());
  if (!file_) return text;
  const struct stat info = status_of_source(file_);
  if (S_ISBLK(info.st_mode)) return text + " device " + std::to_string(info.st_rdev);
  return text + " file " + std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) + " " +
         std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

void CaptureSource::read(void* buffer, std::size_t length, std::uint64_t offset) const {
  // Not what the backing has mapped: that is for reads here and there.
  if (file_ && offset + length <= file_bytes_)
    file_.read(buffer, length, offset);
  else
    backing_->read(buffer, length, offset);
}

void CaptureSource::for_each_extent(Range range, const Backing::ExtentFn& fn) const {
  backing_->for_each_extent(range.begin, range.length(), fn);
}

std::string CaptureSource::path_of(Range range, std::unique_ptr<LoopDevice>& loop) {
  if (!file_ && !nbd_file_) nbd_file_ = std::make_unique<NbdFile>(where_);
  const std::string path = file_ ? where_ : nbd_file_->path();
  if (range == Range{0, size()}) return path;
  loop = std::make_unique<LoopDevice>(path, range, true);
  return loop->path();
}

}  // namespace plydisk
