// One connection to an NBD server, by libnbd: many requests at a time, each of which blocks its
// caller until the server has answered it.
//
// Whoever waits for an answer reads those that come, for the others, too, as long as its own is not
// there; one of them at a time. So a request alone on its connection needs no other thread. When
// nobody waits, a thread of its own looks now and then whether the connection is still there. One
// that was lost stays lost: who wants to go on makes another one (NbdBacking does).
//
// Thread safety: all functions from any thread, except that the destructor must be alone.
#pragma once

#include <libnbd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "backing/nbd_negotiation.hpp"
#include "base/file.hpp"

namespace plydisk {

// What a server says of its export.
struct NbdExport {
  std::uint64_t size = 0;             // bytes
  std::uint32_t minimum_block = 1;    // bytes; offsets and lengths must be multiples of it
  std::uint32_t longest_request = 0;  // bytes
  bool read_only = false;
  bool can_flush = false, can_zero = false, can_multi_conn = false;
  bool has_extents = false;  // block status, base:allocation
  bool can_cache = false;
  bool operator==(const NbdExport&) const = default;
};

class NbdConnection {
 public:
  // What it can be asked: reads are cheaper where block status can't be asked for.
  enum class Replies { structured, simple };
  // Connects and negotiates. Throws Error: ETIMEDOUT after `limit`, or what stopped it.
  NbdConnection(const std::string& uri, std::chrono::milliseconds limit,
                Replies replies = Replies::structured);
  ~NbdConnection();
  NbdConnection(const NbdConnection&) = delete;
  NbdConnection& operator=(const NbdConnection&) = delete;

  const NbdExport& about() const noexcept { return about_; }

  // These return 0, or the server's error as an errno value, or `lost`: the connection is lost, and
  // the server may have done it or not. Ranges are as NbdExport says.
  static constexpr int lost = -1;
  int read(void* buffer, std::size_t length, std::uint64_t offset);
  struct Write {
    std::uint64_t offset, length;
    const std::byte* data;  // null: zeros
    bool may_punch;         // zeros may be deallocated
  };
  int write(const Write& write);
  // Several writes that do not overlap, side by side.
  int write_all(std::span<const Write> writes);
  int flush();
  // What that means is the server's matter; with plydisk's, see Backing::send_by_multicast().
  int cache(std::uint64_t offset, std::uint64_t length);
  struct Extent {
    std::uint64_t length;  // bytes
    bool is_zero;
  };
  // The extents from `offset` on: at least one; perhaps fewer than the range has.
  int extents(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& extents);

  bool is_lost() const noexcept { return lost_.load(); }
  // Whether the network, not the server, seems to be what is waited for: something that was sent is
  // not confirmed in spite of being repeated. Never true of a Unix socket.
  bool is_unconfirmed() const noexcept;
  // The network interface by which it reaches the server; empty for a Unix socket.
  std::string interface() const;
  // Ends it: whoever waits gets `lost`.
  void drop() noexcept;

 private:
  class Waiter;
  template <typename Start>
  void start(Waiter& waiter, Start&& start);
  template <typename Start>
  int run(Start&& request);
  void connect(const std::string& uri, std::chrono::milliseconds limit, Replies replies);
  void ask_about();
  int await(Waiter& waiter);
  bool is_over() const noexcept;
  bool receive(int milliseconds);
  void receive_for(Waiter& waiter);
  void pass_on();
  void watch();
  void wake() noexcept;

  NbdHandle handle_;
  UniqueFd socket_;  // the handle's, which may close it at any time and leave the number to others
  UniqueFd wake_;    // an eventfd
  NbdExport about_;
  std::atomic<bool> lost_{false};

  std::mutex mutex_;             // protects all below
  bool is_received_ = false;     // somebody reads answers, or has been chosen to
  std::deque<Waiter*> waiting_;  // the others
  bool closing_ = false;
  std::condition_variable closed_;
  std::thread watcher_;
};

}  // namespace plydisk
