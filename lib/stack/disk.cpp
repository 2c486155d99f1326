#include "stack/disk.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

Disk::Disk(Stack stack, bool ready, bool direct, std::function<void()> begin, MakeRoom make_room)
    : size_(stack.version->size()),
      begin_(std::move(begin)),
      make_room_(std::move(make_room)),
      stack_(std::move(stack)),
      ready_(ready),
      direct_(direct),
      was_direct_(direct) {}

void Disk::enter(SharedLock& lock) {
  lock.lock();
  if (shut_reason_) throw Error(ESHUTDOWN, *shut_reason_);
}

void Disk::enter_for_writing(SharedLock& lock) {
  enter(lock);
  while (!ready_) {
    lock.unlock();
    {
      const std::lock_guard begin_lock(begin_mutex_);
      lock.lock();
      const bool ready = ready_;
      lock.unlock();
      if (!ready) begin_();
    }
    enter(lock);
  }
}

// Enters, and calls fn(); and again, from the beginning, after the backing's server was away.
template <typename Fn>
void Disk::use_stack(void (Disk::*way_in)(SharedLock&), Fn&& fn) {
  while (true) {
    SharedLock lock(stack_mutex_, std::defer_lock);
    (this->*way_in)(lock);
    std::shared_ptr<const Version> version;
    try {
      const ThrowIfAway throw_if_away;
      return fn();
    } catch (const ServerAway&) {
      version = stack_.version;
    }
    lock.unlock();
    version->backing().wait_until_back();
  }
}

void Disk::read(void* buffer, std::size_t length, std::uint64_t offset) {
  use_stack(&Disk::enter, [&] { stack_.read(buffer, length, offset); });
  counters().requests.fetch_add(1, std::memory_order_relaxed);
  counters().bytes_read.fetch_add(length, std::memory_order_relaxed);
}

// Runs `fn`, which changes the disk, with the stack held; and again, from its beginning, when the
// top layer was full and another one has taken its place.
template <typename Fn>
void Disk::change_data(const Gate* gate, Fn&& fn) {
  while (true) {
    const Layer* top = nullptr;
    bool has_tried = false;
    try {
      return use_stack(&Disk::enter_for_writing, [&] {
        if (gate != nullptr && gate->is_shut())
          throw Error(ESHUTDOWN, "the station has made newer connections");
        top = stack_.layers.empty() ? nullptr : stack_.layers.front().get();
        has_tried = true;
        fn();
      });
    } catch (const Error& error) {
      if (!is_disk_full(error.code()) || !has_tried || !make_room_ || !make_room_(top)) throw;
    }
  }
}

void Disk::write(const void* buffer, std::size_t length, std::uint64_t offset, bool fua,
                 const Gate* gate) {
  change_data(gate, [&] { write_piece(static_cast<const std::byte*>(buffer), length, offset); });
  counters().requests.fetch_add(1, std::memory_order_relaxed);
  counters().bytes_written.fetch_add(length, std::memory_order_relaxed);
  if (fua) flush();
}

// Writes any range. stack_mutex_ is held shared.
void Disk::write_piece(const std::byte* buffer, std::size_t length, std::uint64_t offset) {
  if (stack_.layers.empty()) return stack_.version->backing().write(buffer, length, offset);
  Layer& top = *stack_.layers.front();
  if (top.kind() == LayerKind::data && offset % sector_size == 0 && length % sector_size == 0)
    return top.write(buffer, length, offset);
  while (length > 0) {
    const std::uint64_t in_chunk = offset % chunk_size;
    const auto piece =
        static_cast<std::size_t>(std::min<std::uint64_t>(length, chunk_size - in_chunk));
    FairSharedMutex& mutex = top.chunk_lock(offset / chunk_size);
    if (offset % sector_size == 0 && piece % sector_size == 0) {
      const std::shared_lock lock(mutex);
      put(top, buffer, piece, offset);
    } else {
      // Alone: between reading a sector's other bytes and writing it, nobody may write it.
      const std::lock_guard lock(mutex);
      const std::uint64_t from = offset / sector_size * sector_size;
      const std::uint64_t to = (offset + piece + sector_size - 1) / sector_size * sector_size;
      std::vector<std::byte> sectors(to - from);
      stack_.read(sectors.data(), sector_size, from);
      if (to - from > sector_size)
        stack_.read(sectors.data() + sectors.size() - sector_size, sector_size, to - sector_size);
      std::memcpy(sectors.data() + (offset - from), buffer, piece);
      put(top, sectors.data(), sectors.size(), from);
    }
    buffer += piece;
    length -= piece;
    offset += piece;
  }
}

// Writes whole sectors of one chunk. The chunk's lock is held.
void Disk::put(Layer& top, const void* buffer, std::size_t length, std::uint64_t offset) {
  if (top.kind() == LayerKind::data) return top.write_locked(buffer, length, offset);
  stack_.version->backing().write(buffer, length, offset);
  top.mark_pass(offset / chunk_size,
                SectorSet::range(static_cast<unsigned>(offset % chunk_size / sector_size),
                                 static_cast<unsigned>(length / sector_size)));
}

void Disk::zero(std::uint64_t offset, std::uint64_t length, bool may_punch, bool fua,
                const Gate* gate) {
  change_data(gate, [&] {
    const std::uint64_t end = offset + length;
    const std::uint64_t from =
        std::min(end, (offset + sector_size - 1) / sector_size * sector_size);
    const std::uint64_t to = std::max(from, end / sector_size * sector_size);
    if (offset < from) write_zeros(offset, from - offset);
    if (from < to) zero_sectors(from, to - from, may_punch);
    if (to < end) write_zeros(to, end - to);
  });
  counters().requests.fetch_add(1, std::memory_order_relaxed);
  if (fua) flush();
}

void Disk::trim(std::uint64_t offset, std::uint64_t length, bool fua, const Gate* gate) {
  const std::uint64_t from = (offset + sector_size - 1) / sector_size * sector_size;
  const std::uint64_t to = (offset + length) / sector_size * sector_size;
  if (from < to)
    zero(from, to - from, true, fua, gate);
  else if (fua)
    flush();
}

bool Disk::zeroes_fast() const {
  const std::shared_lock lock(stack_mutex_);
  return !direct_;
}

// Zeroes whole sectors, leaving alone what reads as zeros already: discarding a blank disk of a
// terabyte must not cost an index of a terabyte. Zeros of the layers below a pass layer are not
// left alone: what is written directly belongs in the backing.
void Disk::zero_sectors(std::uint64_t offset, std::uint64_t length, bool may_punch) {
  Backing& backing = stack_.version->backing();
  if (stack_.layers.empty()) return backing.zero(offset, length, may_punch);
  Layer& top = *stack_.layers.front();
  const bool passes = top.kind() == LayerKind::pass;
  std::uint64_t from = offset, to = offset;
  const auto zero_pending = [&] {
    if (from == to) return;
    if (passes)
      write_zeros(from, to - from);
    else
      top.zero(from, to - from);
  };
  const auto add = [&](std::uint64_t at, std::uint64_t bytes, bool leave) {
    if (leave && at % sector_size == 0 && bytes % sector_size == 0) {
      zero_pending();
      from = at + bytes;
    }
    to = at + bytes;
  };
  stack_.for_each_source(offset, length, [&](Source source, std::uint64_t at, std::uint64_t bytes) {
    if (source.is_backing())
      backing.for_each_extent(at, bytes, add);
    else
      add(at, bytes, source.is_zeros() && !passes);
  });
  zero_pending();
}

void Disk::write_zeros(std::uint64_t offset, std::uint64_t length) {
  static const std::vector<std::byte> zeros(chunk_size);
  while (length > 0) {
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(length, zeros.size()));
    write_piece(zeros.data(), piece, offset);
    offset += piece;
    length -= piece;
  }
}

void Disk::flush() {
  Stack stack;
  bool flush_backing = false;
  {
    SharedLock lock(stack_mutex_, std::defer_lock);
    enter(lock);
    if (!ready_) return;
    stack = stack_;
    flush_backing = was_direct_;
  }
  counters().flushes.fetch_add(1, std::memory_order_relaxed);
  if (flush_backing) stack.version->backing().flush();
  // Older layers too: what was written before a redirection may not have been synced yet.
  for (auto layer = stack.layers.rbegin(); layer != stack.layers.rend(); ++layer)
    if (!(*layer)->is_settled()) (*layer)->flush();
}

void Disk::prefetch(std::uint64_t offset, std::uint64_t length) {
  SharedLock lock(stack_mutex_, std::defer_lock);
  enter(lock);
  stack_.prefetch(offset, length);
}

void Disk::for_each_extent(std::uint64_t offset, std::uint64_t length,
                           const Backing::ExtentFn& fn) {
  struct Extent {
    std::uint64_t offset, length;
    bool is_zero;
  };
  std::vector<Extent> extents;
  use_stack(&Disk::enter, [&] {
    extents.clear();
    stack_.for_each_extent(offset, length, [&](std::uint64_t at, std::uint64_t bytes, bool zero) {
      extents.push_back({at, bytes, zero});
    });
  });
  for (const auto& [at, bytes, is_zero] : extents) fn(at, bytes, is_zero);
}

Stack Disk::stack() const {
  const std::shared_lock lock(stack_mutex_);
  return stack_;
}

bool Disk::was_direct() const {
  const std::shared_lock lock(stack_mutex_);
  return was_direct_;
}

void Disk::note_was_direct() {
  const std::lock_guard lock(stack_mutex_);
  was_direct_ = true;
}

bool Disk::is_direct() const {
  const std::shared_lock lock(stack_mutex_);
  return direct_;
}

void Disk::shut(const std::string& reason) {
  const std::lock_guard lock(stack_mutex_);
  shut_reason_ = reason;
}

std::string Disk::shut_reason() const {
  const std::shared_lock lock(stack_mutex_);
  return shut_reason_.value_or("");
}

void Disk::drain() { const std::lock_guard lock(stack_mutex_); }

DiskStatistics Disk::statistics() const {
  DiskStatistics sum;
  for (const Counters& counters : counters_) {
    sum.bytes_read += counters.bytes_read.load(std::memory_order_relaxed);
    sum.bytes_written += counters.bytes_written.load(std::memory_order_relaxed);
    sum.requests += counters.requests.load(std::memory_order_relaxed);
    sum.flushes += counters.flushes.load(std::memory_order_relaxed);
  }
  return sum;
}

double Disk::change(const std::function<void(Stack& stack, bool& direct)>& fn) {
  const auto start = std::chrono::steady_clock::now();
  const std::lock_guard lock(stack_mutex_);
  fn(stack_, direct_);
  ready_ = true;
  was_direct_ |= direct_;
  const std::chrono::duration<double, std::milli> pause = std::chrono::steady_clock::now() - start;
  return pause.count();
}

void Disk::prepare(const std::function<void(Stack& stack)>& fn) {
  const std::lock_guard lock(stack_mutex_);
  fn(stack_);
}

}  // namespace plydisk
