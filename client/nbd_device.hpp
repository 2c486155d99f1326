// One of the kernel's /dev/nbdX: its name, what the kernel says of it, who uses it, and what is to
// be set at it. How it gets its server is KernelNbd's business.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_uses.hpp"

namespace plydisk {

// "/dev/nbd3" or "nbd3" to 3. Throws Error(EINVAL) for all else, partitions too.
unsigned parse_nbd_index(std::string_view text);

// Thread safety: all functions from any thread. But set_queue_limits, scan_partitions and flush
// wait for the disk's server, for as long as it is away: they are not for the thread that
// reconnects it. Errors are thrown as Error.
class NbdDevice {
 public:
  explicit NbdDevice(unsigned index, SystemRoots roots = {});

  unsigned index() const noexcept { return index_; }
  std::string name() const { return "nbd" + std::to_string(index_); }
  // "/dev/nbd3"
  std::string path() const { return (roots_.dev / name()).string(); }

  // Whether it has a server. One that was disconnected while it was open counts as connected until
  // it is closed, as it does for the kernel.
  bool is_connected() const;
  // What was given to KernelNbd::connect; nothing if it is not connected, or not by netlink.
  std::optional<std::string> backend() const;
  // The process that connected it, which need not live any more.
  std::optional<unsigned> connected_by() const;
  std::uint64_t size_bytes() const;
  bool is_read_only() const;
  // "/dev/nbd3p1", …, in the order of their numbers.
  std::vector<std::string> partitions() const;

  // To be called after each connect, which sets the timeout back, and before the first request: the
  // kernel sends what a dead server left unanswered again only when the timer of `request_timer_ms`
  // fires. Requests of up to 1 MiB: an nbdkit keeps a buffer of the largest for each of its
  // threads, which with 32 MiB was more than small stations have.
  void set_queue_limits() const;
  static constexpr unsigned request_timer_ms = 2000;
  static constexpr unsigned longest_request_kib = 1024;

  // One sentence for each use of the disk or a partition of it that a disconnection would break:
  // mounted file systems, swap, device mapper and the like, loop devices, processes that have it
  // open. Empty: nobody, as far as this process may see. What goes on in other mount namespaces has
  // no name here, but does not go unnoticed.
  std::vector<std::string> uses() const;
  // "/dev/nbd0 is in use: …", with these.
  [[noreturn]] void throw_in_use(const std::vector<std::string>& uses) const;

  // Reads the partition table anew; partitions() has them when it returns. EBUSY if a partition is
  // in use, whose table then stays as it was.
  void scan_partitions() const;
  // After a disconnection, once nobody has it open: the kernel notices at the next open that the
  // partitions have gone with the disk. Does nothing to one that is connected.
  void drop_partitions() const;
  // Writes what the kernel has cached, and forgets it. Before a disconnection.
  void flush() const;

 private:
  // The disk itself first.
  std::vector<DevicePart> parts() const;
  std::filesystem::path directory() const { return roots_.sys / "block" / name(); }

  unsigned index_;
  SystemRoots roots_;
};

}  // namespace plydisk
