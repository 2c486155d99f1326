// What lies at the bottom of a disk.
//
// Thread safety: all functions from any thread. Offsets and lengths are bytes, of any alignment,
// inside size(). Functions throw Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk {

// What a request throws instead of waiting, while a ThrowIfAway lives in its thread.
class ServerAway : public Error {
 public:
  explicit ServerAway(const std::string& sentence) : Error(ESHUTDOWN, sentence) {}
};

// For who holds a lock that others need, who must not wait for a server that is away. They let go
// of it, call Backing::wait_until_back(), and make the request again from its beginning.
class ThrowIfAway {
 public:
  // `on`: false for a part that is to wait all the same.
  explicit ThrowIfAway(bool on = true) noexcept : before_(std::exchange(is_set_, on)) {}
  ~ThrowIfAway() { is_set_ = before_; }
  ThrowIfAway(const ThrowIfAway&) = delete;
  ThrowIfAway& operator=(const ThrowIfAway&) = delete;
  static bool is_set() noexcept { return is_set_; }

 private:
  static thread_local bool is_set_;
  const bool before_;
};

class Backing {
 public:
  virtual ~Backing() = default;
  // Bytes; a multiple of the sector size, so the last sector of an odd file reads on as zeros.
  virtual std::uint64_t size() const noexcept = 0;
  virtual std::string describe() const = 0;
  virtual void read(void* buffer, std::size_t length, std::uint64_t offset) const = 0;
  // Whether reads have been waiting for the disk lately, so that prefetch() pays.
  virtual bool is_cold() const noexcept = 0;
  virtual void prefetch(std::uint64_t offset, std::uint64_t length) const = 0;
  // Calls fn(offset, length, is_zero) over the range, in order, without gaps.
  using ExtentFn = std::function<void(std::uint64_t, std::uint64_t, bool)>;
  // Whether asking for the extents of some KiB costs less than reading them.
  virtual bool has_cheap_extents() const noexcept { return false; }
  virtual void for_each_extent(std::uint64_t offset, std::uint64_t length,
                               const ExtentFn& fn) const = 0;
  // What has its bytes, each at its place on the disk; null if that is no file here. The last
  // sector of an odd file is not all there.
  virtual const File* file() const noexcept { return nullptr; }

  // Takes the backing for this process alone, and extends an odd file to whole sectors. EBUSY:
  // others use it, or its path leads to something else by now; EROFS, EACCES: it can't be written.
  virtual void open_for_writing() = 0;
  virtual void close_for_writing() noexcept = 0;
  // These need open_for_writing(). After a flush that failed they throw EIO for good, and so does
  // open_for_writing(): what was written may be lost. Reads go on.
  virtual void write(const void* buffer, std::size_t length, std::uint64_t offset) = 0;
  virtual void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) = 0;
  // Makes everything written before durable.
  virtual void flush() = 0;

  // Asks the server to send the range to all stations of its group, this one among them, and waits
  // until it was sent. False if the server does not: who wants it is to read it. May throw as
  // read().
  virtual bool send_by_multicast(std::uint64_t, std::uint64_t) const { return false; }
  // How often it has been connected to: after another one, what was known of the server may not
  // hold any more. 0: not yet.
  virtual std::uint64_t connection() const noexcept { return 1; }
  // The network interface by which the server is reached; empty if that is not known.
  virtual std::string interface() const { return {}; }

  // Returns at once if no server is away. Throws as a request that has waited in vain.
  virtual void wait_until_back() const {}
  // Why requests wait or fail now, a sentence; empty if they do not.
  virtual std::string trouble() const { return {}; }
  // What the server has of this session is needed: it must not begin another one when it is back.
  virtual void stay_in_session() noexcept {}
  // From now on nobody waits for a server that is away: those who do get ESHUTDOWN.
  virtual void stop_waiting() noexcept {}
};

// A regular file, a block device or an optical drive. Errors: ENOENT, EACCES, EINVAL (empty, or not
// such a thing), EBUSY (another process writes to it).
std::shared_ptr<Backing> open_file_backing(const std::string& path);

// The same, or an export of an NBD server (nbd_backing.hpp), if `where` is an NBD URI.
struct NbdOptions;
std::shared_ptr<Backing> open_backing(const std::string& where, const NbdOptions& options);

}  // namespace plydisk
