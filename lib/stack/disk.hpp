// A session's disk: reads and writes through its stack, and the change of the stack under load.
//
// Where a write goes is decided by the top of the stack: into the top layer, if it takes data; into
// the backing, if the top layer is a pass layer, or if the disk is `direct` and has no layers.
//
// Locks, in the order in which they are taken:
// - stack_mutex_: held shared by every request while it uses the stack, alone by whoever changes
//   it. So a redirection waits for the requests under way, and for nothing else: flushes let go of
//   it before they sync, and so do requests that find a server away which the backing needs.
// - the top layer's chunk locks (Layer).
//
// Thread safety: all functions from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>

#include "base/striped.hpp"
#include "stack/stack.hpp"

namespace plydisk {

// What a client's connection changes the disk through. Once it is shut and the disk is drained,
// nothing that came through it is changed any more.
class Gate {
 public:
  void shut() noexcept { shut_.store(true); }
  bool is_shut() const noexcept { return shut_.load(); }

 private:
  std::atomic<bool> shut_{false};
};

struct DiskStatistics {
  std::uint64_t bytes_read = 0, bytes_written = 0, requests = 0, flushes = 0;
};

class Disk {
 public:
  // `begin`: called at the first write of a disk that is not `ready`, without locks held, to
  // prepare a place for writes: it must call change() with a stack that can be written. It may
  // throw. `direct`: with no layers, writes go to the backing. `make_room`: called without locks
  // when the top layer is full, with its address, to be compared and no more, or without layers the
  // backing, null; if it returns true the write is made again, else it fails. It may be empty.
  using MakeRoom = std::function<bool(const Layer* full)>;
  Disk(Stack stack, bool ready, bool direct, std::function<void()> begin, MakeRoom make_room = {});

  std::uint64_t size() const noexcept { return size_; }

  // Bytes of any alignment, inside size(). Throw Error: ESHUTDOWN if `gate` is shut.
  void read(void* buffer, std::size_t length, std::uint64_t offset);
  // `fua`: the write is durable when the call returns.
  void write(const void* buffer, std::size_t length, std::uint64_t offset, bool fua,
             const Gate* gate = nullptr);
  // `may_punch`: the space may be given back.
  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch, bool fua,
            const Gate* gate = nullptr);
  // Zeroes the whole sectors of the range; what is left at its edges stays.
  void trim(std::uint64_t offset, std::uint64_t length, bool fua, const Gate* gate = nullptr);
  // Whether zero() is quicker than writing zeros.
  bool zeroes_fast() const;
  void flush();
  void prefetch(std::uint64_t offset, std::uint64_t length);
  void for_each_extent(std::uint64_t offset, std::uint64_t length, const Backing::ExtentFn& fn);

  // The stack now. It stays readable while the caller keeps it.
  Stack stack() const;
  bool is_direct() const;
  // Whether something was written to the backing, so that flushes go there; note: by an earlier
  // process.
  bool was_direct() const;
  void note_was_direct();
  // Ends all service: every later request throws ESHUTDOWN with this reason.
  void shut(const std::string& reason);
  // Empty: it is not shut.
  std::string shut_reason() const;
  // Returns when the requests that are under way are done.
  void drain();

  // Changes the stack between two requests. `fn` gets the stack and `direct`, and must not do I/O.
  // Returns how long requests had to wait, in milliseconds.
  double change(const std::function<void(Stack& stack, bool& direct)>& fn);
  // Likewise, of a disk that may have no place for writes yet, and then has none afterwards.
  void prepare(const std::function<void(Stack& stack)>& fn);

  DiskStatistics statistics() const;

 private:
  using SharedLock = std::shared_lock<StripedSharedMutex>;
  void enter(SharedLock& lock);
  void enter_for_writing(SharedLock& lock);
  template <typename Fn>
  void use_stack(void (Disk::*way_in)(SharedLock&), Fn&& fn);
  template <typename Fn>
  void change_data(const Gate* gate, Fn&& fn);
  void write_piece(const std::byte* buffer, std::size_t length, std::uint64_t offset);
  void put(Layer& top, const void* buffer, std::size_t length, std::uint64_t offset);
  void zero_sectors(std::uint64_t offset, std::uint64_t length, bool may_punch);
  void write_zeros(std::uint64_t offset, std::uint64_t length);

  const std::uint64_t size_;
  const std::function<void()> begin_;
  const MakeRoom make_room_;
  std::mutex begin_mutex_;  // one first write prepares, the others wait

  mutable StripedSharedMutex stack_mutex_;  // protects all below
  Stack stack_;
  bool ready_;
  bool direct_;
  // Whether writes ever went to the backing without a pass layer, so that flushes must cover it.
  bool was_direct_;
  std::optional<std::string> shut_reason_;

  struct alignas(cache_line) Counters {
    std::atomic<std::uint64_t> bytes_read{0}, bytes_written{0}, requests{0}, flushes{0};
  };
  Counters& counters() noexcept { return counters_[thread_stripe()]; }
  std::array<Counters, stripe_count> counters_;
};

}  // namespace plydisk
