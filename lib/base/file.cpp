#include "base/file.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

std::atomic<StorageObserver*> storage_observer{nullptr};

namespace {

StorageObserver* observer() { return storage_observer.load(std::memory_order_acquire); }

// Whether an errno of fallocate says that this can't be done here, rather than that it failed.
// EINVAL: the range is of sectors smaller than the block device's own.
bool is_refused(int error) {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV || error == EINVAL;
}

void sync_descriptor(const std::string& path, int fd, int (*sync)(int)) {
  auto* const watch = observer();
  if (watch != nullptr && watch->skip_sync(path)) return;
  int result;
  do {
    result = sync(fd);
  } while (result != 0 && errno == EINTR);
  if (result != 0) throw_errno("cannot sync " + path);
  if (watch != nullptr) watch->on_sync(path);
}

}  // namespace

void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

File File::open(const std::filesystem::path& path, int flags, unsigned mode) {
  File file;
  file.path_ = path.string();
  auto* const watch = observer();
  const bool creates =
      watch != nullptr && (flags & O_CREAT) != 0 && ::access(path.c_str(), F_OK) != 0;
  file.fd_ = UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!file.fd_) throw_errno("cannot open " + file.path_);
  if (creates) watch->on_create(file.path_);
  return file;
}

std::uint64_t File::size() const {
  struct stat info {};
  if (::fstat(fd(), &info) != 0) throw_errno("cannot stat " + path_);
  if (!S_ISBLK(info.st_mode)) return static_cast<std::uint64_t>(info.st_size);
  std::uint64_t bytes = 0;
  if (::ioctl(fd(), BLKGETSIZE64, &bytes) != 0) throw_errno("cannot get the size of " + path_);
  return bytes;
}

void File::read(void* buffer, std::size_t length, std::uint64_t offset) const {
  auto* out = static_cast<char*>(buffer);
  while (length > 0) {
    const ssize_t got = ::pread(fd(), out, length, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      throw_errno("cannot read " + path_);
    }
    if (got == 0) throw Error(EIO, path_ + " is shorter than it was: it was truncated");
    out += got;
    offset += static_cast<std::uint64_t>(got);
    length -= static_cast<std::size_t>(got);
  }
}

void File::write(const void* buffer, std::size_t length, std::uint64_t offset) const {
  const auto* in = static_cast<const std::byte*>(buffer);
  if (auto* const watch = observer()) watch->on_write(path_, offset, {in, length});
  while (length > 0) {
    const ssize_t put = ::pwrite(fd(), in, length, static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      throw_errno("cannot write " + path_);
    }
    in += put;
    offset += static_cast<std::uint64_t>(put);
    length -= static_cast<std::size_t>(put);
  }
}

void File::punch(std::uint64_t offset, std::uint64_t length) const {
  if (length == 0) return;
  if (auto* const watch = observer()) watch->on_punch(path_, offset, length);
  if (::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) == 0)
    return;
  if (!is_refused(errno)) throw_errno("cannot deallocate a range of " + path_);
  zero(offset, length, false);
}

void File::zero(std::uint64_t offset, std::uint64_t length, bool may_punch) const {
  if (length == 0) return;
  if (may_punch) return punch(offset, length);
  if (auto* const watch = observer()) watch->on_punch(path_, offset, length);
  if (::fallocate(fd(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) == 0)
    return;
  if (!is_refused(errno)) throw_errno("cannot zero a range of " + path_);
  static const std::vector<std::byte> zeros(1 << 20);
  while (length > 0) {
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(length, zeros.size()));
    write(zeros.data(), piece, offset);
    offset += piece;
    length -= piece;
  }
}

void File::truncate(std::uint64_t size) const {
  if (auto* const watch = observer()) watch->on_truncate(path_, size);
  if (::ftruncate(fd(), static_cast<off_t>(size)) != 0) throw_errno("cannot resize " + path_);
}

void File::sync_data() const { sync_descriptor(path_, fd(), ::fdatasync); }

void File::sync() const { sync_descriptor(path_, fd(), ::fsync); }

void sync_directory(const std::filesystem::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw_errno("cannot open " + directory.string());
  if (::fsync(fd.get()) != 0) throw_errno("cannot sync " + directory.string());
  if (auto* const watch = observer()) watch->on_sync_directory(directory.string());
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (auto* const watch = observer()) watch->on_rename(from.string(), to.string());
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw_errno("cannot rename " + from.string() + " to " + to.string());
}

void replace_file_durably(const std::filesystem::path& finished,
                          const std::filesystem::path& replaced) {
  File::open(finished, O_RDWR).sync_data();
  rename_file(finished, replaced);
  sync_directory(replaced.parent_path());
}

void link_file(const std::filesystem::path& file, const std::filesystem::path& name) {
  if (auto* const watch = observer()) watch->on_link(file.string(), name.string());
  if (::link(file.c_str(), name.c_str()) != 0)
    throw_errno("cannot give " + file.string() + " the name " + name.string());
}

void create_directory_durably(const std::filesystem::path& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0) throw_errno("cannot create " + directory.string());
  if (auto* const watch = observer()) watch->on_create(directory.string());
  sync_directory(directory.parent_path());
}

UniqueFd lock_directory(const std::filesystem::path& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw_errno("cannot open " + directory.string());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) throw_errno("cannot lock " + directory.string());
  return {};
}

void remove_tree(const std::filesystem::path& path) {
  std::error_code ignored;
  if (auto* const watch = observer()) {
    for (std::filesystem::recursive_directory_iterator it(path, ignored), end; it != end;
         it.increment(ignored))
      if (it->is_regular_file(ignored)) watch->on_remove(it->path().string());
    watch->on_remove(path.string());
  }
  std::error_code failed;
  std::filesystem::remove_all(path, failed);
  if (failed) throw_errno(failed.value(), "cannot remove " + path.string());
}

void forget_cached(const std::filesystem::path& path) noexcept {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return;
  // Only clean pages are forgotten; what can't be written now is clean afterwards, and wrong.
  ::fdatasync(fd.get());
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

namespace {

using Inode = std::pair<dev_t, ino_t>;

std::uint64_t allocated_in(const std::filesystem::path& path, std::set<Inode>& counted) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return 0;
  if (!S_ISDIR(info.st_mode)) {
    if (info.st_nlink > 1 && !counted.emplace(info.st_dev, info.st_ino).second) return 0;
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  std::uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored))
    bytes += allocated_in(entry.path(), counted);
  return bytes;
}

}  // namespace

std::uint64_t allocated_in(const std::filesystem::path& path) {
  return allocated_in(std::vector{path});
}

std::uint64_t allocated_in(const std::vector<std::filesystem::path>& paths) {
  std::set<Inode> counted;
  std::uint64_t bytes = 0;
  for (const auto& path : paths) bytes += allocated_in(path, counted);
  return bytes;
}

std::string read_text_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw_errno("cannot read " + path.string());
  std::string text{std::istreambuf_iterator<char>(in), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void write_text_file(const std::filesystem::path& path, std::string_view text, unsigned mode) {
  File::open(path, O_WRONLY | O_CREAT | O_TRUNC, mode).write(text.data(), text.size(), 0);
}

}  // namespace plydisk
