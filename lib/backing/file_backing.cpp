#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>

#include "backing/backing.hpp"
#include "base/error.hpp"
#include "base/mapped_file.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

struct stat status_of(const File& file) {
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) throw_errno("cannot stat " + file.path());
  return info;
}

bool is_same(const struct stat& a, const struct stat& b) {
  if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)) return a.st_rdev == b.st_rdev;
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

class FileBacking final : public Backing {
 public:
  FileBacking(File file, std::uint64_t bytes)
      : bytes_(bytes),
        size_((bytes + sector_size - 1) / sector_size * sector_size),
        data_(std::move(file), bytes) {}

  std::uint64_t size() const noexcept override { return size_; }
  std::string describe() const override { return data_.file().path(); }

  void read(void* buffer, std::size_t length, std::uint64_t offset) const override {
    if (const std::uint64_t bytes = bytes_.load(); offset + length > bytes) {
      const std::uint64_t from = std::max(offset, bytes);
      std::memset(static_cast<char*>(buffer) + (from - offset), 0, offset + length - from);
      length = static_cast<std::size_t>(from - offset);
    }
    if (length > 0) data_.read(buffer, length, offset);
  }

  bool is_cold() const noexcept override { return data_.is_cold(); }

  void prefetch(std::uint64_t offset, std::uint64_t length) const override {
    data_.prefetch(offset, length);
  }

  bool has_cheap_extents() const noexcept override { return true; }

  void for_each_extent(std::uint64_t offset, std::uint64_t length,
                       const ExtentFn& fn) const override {
    const std::uint64_t end = offset + length;
    while (offset < end) {
      const auto [stop, is_zero] = extent_at(offset);
      const std::uint64_t next = std::min(end, std::max(stop, offset + 1));
      fn(offset, next - offset, is_zero);
      offset = next;
    }
  }

  const File* file() const noexcept override { return &data_.file(); }

  void open_for_writing() override {
    const std::lock_guard lock(mutex_);
    if (writable_) return;
    require_synced();
    const std::string& path = data_.file().path();
    File file = open_again();
    int read_only = 0;
    if (::ioctl(file.fd(), BLKROGET, &read_only) == 0 && read_only != 0)
      throw Error(EROFS, path + " is a read-only device, so it can't be written directly");
    // The shared lock of our own descriptor is turned into an exclusive one.
    if (::flock(data_.file().fd(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) throw_errno("cannot lock " + path);
      ::flock(data_.file().fd(), LOCK_SH | LOCK_NB);
      throw Error(EBUSY, path + " is in use by another process, so it can't be written directly");
    }
    try {
      extend_to_whole_sectors(file);
    } catch (...) {
      ::flock(data_.file().fd(), LOCK_SH | LOCK_NB);
      throw;
    }
    writable_ = std::move(file);
  }

  void close_for_writing() noexcept override {
    const std::lock_guard lock(mutex_);
    if (!writable_) return;
    writable_ = File();
    ::flock(data_.file().fd(), LOCK_SH | LOCK_NB);
  }

  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    require_synced();
    writable_.write(buffer, length, offset);
  }

  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) override {
    require_synced();
    writable_.zero(offset, length, may_punch);
  }

  // By the descriptor for reading, which does as well and is always there. Linux tells each
  // descriptor once that data was lost, so one call at a time asks, and the answer is kept. A call
  // that waits is served by the first sync that begins after it came.
  void flush() override {
    const std::uint64_t number = flushes_asked_.fetch_add(1) + 1;
    const std::lock_guard lock(sync_mutex_);
    require_synced();
    if (flushes_served_ >= number) return;
    const std::uint64_t served = flushes_asked_.load();
    try {
      data_.file().sync_data();
    } catch (const Error& error) {
      sync_failed_.store(true);
      // The kernel has dropped what it could not write, also when the cause was a full disk.
      throw Error(EIO, error.what());
    }
    flushes_served_ = served;
  }

 private:
  void require_synced() const {
    if (sync_failed_.load(std::memory_order_relaxed))
      throw Error(EIO, data_.file().path() +
                           " can't be written any more, since a sync of it failed and writes are "
                           "lost; check its disk, then restart the server");
  }

  // For writing, what is open for reading.
  File open_again() const {
    const std::string& path = data_.file().path();
    const struct stat known = status_of(data_.file());
    File file;
    try {
      // O_EXCL: refused if the device is mounted, or part of another one.
      file = File::open(path, S_ISBLK(known.st_mode) ? O_RDWR | O_EXCL : O_RDWR);
    } catch (const Error& error) {
      if (error.code() != EBUSY) throw;
      throw Error(EBUSY, path +
                             " is in use on this machine, so it can't be written directly; unmount "
                             "it, or take it out of the volume that it is part of");
    }
    if (!is_same(known, status_of(file)))
      throw Error(EBUSY, path +
                             " is not the file any more that is being read, so it can't be written "
                             "directly; put that file back, or restart the server");
    return file;
  }

  // The last sector of an odd file is all there from now on, so that none of it is lost.
  void extend_to_whole_sectors(const File& file) {
    if (bytes_ == size_) return;
    const std::uint64_t present = file.size();
    if (present < bytes_)
      throw Error(EIO, file.path() + " is shorter than it was: it was truncated");
    if (present < size_) file.truncate(size_);
    bytes_ = size_;
  }

  // Where the extent at `offset` ends, and whether it is a hole.
  std::pair<std::uint64_t, bool> extent_at(std::uint64_t offset) const {
    if (offset >= bytes_) return {size_, true};
    const int fd = data_.file().fd();
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    // ENXIO: a hole up to the end, unless that has moved: then reading is to say that data is gone.
    // Anything else: the device does not know, so it is data.
    if (data < 0) return {size_, errno == ENXIO && is_whole_file()};
    if (static_cast<std::uint64_t>(data) > offset) return {static_cast<std::uint64_t>(data), true};
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    return {hole < 0 ? size_ : static_cast<std::uint64_t>(hole), false};
  }

  bool is_whole_file() const {
    const struct stat info = status_of(data_.file());
    return S_ISREG(info.st_mode) && static_cast<std::uint64_t>(info.st_size) >= bytes_;
  }

  std::atomic<std::uint64_t> bytes_;  // of the file; less than size_ until it is extended
  const std::uint64_t size_;
  MappedFile data_;
  std::mutex mutex_;  // of opening and closing for writing
  File writable_;
  std::atomic<std::uint64_t> flushes_asked_{0};
  std::mutex sync_mutex_;  // protects flushes_served_, and keeps syncs apart
  std::uint64_t flushes_served_ = 0;
  std::atomic<bool> sync_failed_{false};
};

}  // namespace

std::shared_ptr<Backing> open_file_backing(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) throw_errno("cannot open the backing " + path);
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
    throw Error(EINVAL, "the backing " + path + " is neither a file nor a block device");
  File file = File::open(path, O_RDONLY);
  const std::uint64_t bytes = file.size();
  if (bytes == 0) throw Error(EINVAL, "the backing " + path + " is empty");
  // Read-only media and some network file systems have no locks; there nobody else writes either.
  if (::flock(file.fd(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw Error(EBUSY, "the backing " + path + " is being written directly by another process");
  return std::make_shared<FileBacking>(std::move(file), bytes);
}

}  // namespace plydisk
