#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "backing/backing.hpp"
#include "base/error.hpp"
#include "base/mapped_file.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

class FileBacking final : public Backing {
 public:
  FileBacking(File file, std::uint64_t bytes)
      : bytes_(bytes),
        size_((bytes + sector_size - 1) / sector_size * sector_size),
        data_(std::move(file), bytes) {}

  std::uint64_t size() const noexcept override { return size_; }
  std::string describe() const override { return data_.file().path(); }

  void read(void* buffer, std::size_t length, std::uint64_t offset) const override {
    if (offset + length > bytes_) {
      const std::uint64_t from = std::max(offset, bytes_);
      std::memset(static_cast<char*>(buffer) + (from - offset), 0, offset + length - from);
      length = static_cast<std::size_t>(from - offset);
    }
    if (length > 0) data_.read(buffer, length, offset);
  }

  bool is_cold() const noexcept override { return data_.is_cold(); }

  void prefetch(std::uint64_t offset, std::uint64_t length) const override {
    data_.prefetch(offset, length);
  }

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

  void open_for_writing() override {
    const std::lock_guard lock(mutex_);
    if (writable_) return;
    const std::string& path = data_.file().path();
    File file = File::open(path, O_RDWR);
    int read_only = 0;
    if (::ioctl(file.fd(), BLKROGET, &read_only) == 0 && read_only != 0)
      throw Error(EROFS, path + " is a read-only device, so it can't be written directly");
    // The shared lock of our own descriptor is turned into an exclusive one.
    if (::flock(data_.file().fd(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) throw_errno("cannot lock " + path);
      ::flock(data_.file().fd(), LOCK_SH | LOCK_NB);
      throw Error(EBUSY, path + " is in use by another process, so it can't be written directly");
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
    // What lies past the end of an odd file is not there to be written.
    if (offset >= bytes_) return;
    writable_.write(
        buffer, static_cast<std::size_t>(std::min<std::uint64_t>(length, bytes_ - offset)), offset);
  }

  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) override {
    if (offset < bytes_) writable_.zero(offset, std::min(length, bytes_ - offset), may_punch);
  }

  // By the descriptor for reading, which does as well and is always there.
  void flush() override { data_.file().sync_data(); }

 private:
  // Where the extent at `offset` ends, and whether it is a hole.
  std::pair<std::uint64_t, bool> extent_at(std::uint64_t offset) const {
    if (offset >= bytes_) return {size_, true};
    const int fd = data_.file().fd();
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    // ENXIO: a hole up to the end. Anything else: the device does not know, so it is data.
    if (data < 0) return {size_, errno == ENXIO && is_regular()};
    if (static_cast<std::uint64_t>(data) > offset) return {static_cast<std::uint64_t>(data), true};
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    return {hole < 0 ? size_ : static_cast<std::uint64_t>(hole), false};
  }

  bool is_regular() const {
    struct stat info {};
    return ::fstat(data_.file().fd(), &info) == 0 && S_ISREG(info.st_mode);
  }

  const std::uint64_t bytes_;  // of the file
  const std::uint64_t size_;
  MappedFile data_;
  std::mutex mutex_;  // of opening and closing for writing
  File writable_;
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
