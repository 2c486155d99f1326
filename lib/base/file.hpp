// Files: descriptors that close themselves, calls that throw, and one place where every change to
// durable storage passes, so that a test can record it and rebuild what a power cut may leave.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plydisk {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

// Sees every change to durable storage, before it is made. For the power-cut tests; the chunk map
// is not among what it sees, since nobody believes one after a reboot. Called from many threads.
class StorageObserver {
 public:
  virtual ~StorageObserver() = default;
  virtual void on_write(const std::string& path, std::uint64_t offset,
                        std::span<const std::byte> data) = 0;
  virtual void on_punch(const std::string& path, std::uint64_t offset, std::uint64_t length) = 0;
  virtual void on_truncate(const std::string& path, std::uint64_t size) = 0;
  // Called after the sync succeeded and before anybody is told.
  virtual void on_sync(const std::string& path) = 0;
  virtual void on_create(const std::string& path) = 0;
  virtual void on_remove(const std::string& path) = 0;
  virtual void on_rename(const std::string& from, const std::string& to) = 0;
  virtual void on_link(const std::string& file, const std::string& name) = 0;
  virtual void on_sync_directory(const std::string& path) = 0;
  // Tests that prove that they can fail take the data's sync out with this.
  virtual bool skip_sync(const std::string&) { return false; }
};
// Null in production. Set before any file is opened.
extern std::atomic<StorageObserver*> storage_observer;

// An open regular file or block device. Offsets and lengths are bytes; all calls throw Error.
class File {
 public:
  File() = default;
  // `flags` as for open(2); O_CLOEXEC is added.
  static File open(const std::filesystem::path& path, int flags, unsigned mode = 0600);

  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  int fd() const noexcept { return fd_.get(); }
  const std::string& path() const noexcept { return path_; }
  // Size in bytes of the file or of the block device.
  std::uint64_t size() const;

  // Reads exactly `length` bytes; what lies past the end of the file is EIO.
  void read(void* buffer, std::size_t length, std::uint64_t offset) const;
  void write(const void* buffer, std::size_t length, std::uint64_t offset) const;
  // Deallocates the range, which then reads as zeros; writes zeros where the file system or
  // the device can't.
  void punch(std::uint64_t offset, std::uint64_t length) const;
  // Writes zeros; `may_punch` allows deallocation.
  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) const;
  void truncate(std::uint64_t size) const;
  void sync_data() const;
  // The data and all of the inode, its times too.
  void sync() const;

 private:
  UniqueFd fd_;
  std::string path_;
};

// Gives a file or a folder another name, on the same file system; a file that has it goes.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
// Lets a finished file take the place of another one, or of none, in the same folder: durably, and
// after a crash it is one of the two as a whole.
void replace_file_durably(const std::filesystem::path& finished,
                          const std::filesystem::path& replaced);
// Gives a file a second name, on the same file system.
void link_file(const std::filesystem::path& file, const std::filesystem::path& name);
// Makes creations, removals and renames in `directory` durable.
void sync_directory(const std::filesystem::path& directory);
// Creates a directory (one level) and makes it durable in its parent.
void create_directory_durably(const std::filesystem::path& directory);
// Takes a folder for this process, until the descriptor is closed; nothing if another one has it.
UniqueFd lock_directory(const std::filesystem::path& directory);
// Removes a file or a whole tree, with the observer told of each file.
void remove_tree(const std::filesystem::path& path);

// Writes what the kernel has cached of a file, and lets it forget that, as far as it can: then
// reads give what is on the disk, also where a write had failed. For files that nobody has open.
void forget_cached(const std::filesystem::path& path) noexcept;

// Bytes that the file system has really allocated for a file, or for all files of a folder. Opens
// none of them: closing a descriptor of an SQLite file would drop the locks of its owner.
std::uint64_t allocated_in(const std::filesystem::path& path);
// The same of several, where a file that is there by several names counts once.
std::uint64_t allocated_in(const std::vector<std::filesystem::path>& paths);

// The whole of a small text file, without trailing newline.
std::string read_text_file(const std::filesystem::path& path);

// Makes the file, or replaces what is in it; not durably.
void write_text_file(const std::filesystem::path& path, std::string_view text,
                     unsigned mode = 0600);

}  // namespace plydisk
