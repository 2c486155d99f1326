#include "capture/copy.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/error.hpp"
#include "base/thread.hpp"
#include "base/units.hpp"
#include "base/zeros.hpp"
#include "capture/read_ahead.hpp"

namespace plydisk {

namespace {

// Makes the copy durable while it grows, so that little is done twice after an interruption, and
// little is left to be written at the end.
class Checkpoints {
 public:
  Checkpoints(CaptureTarget& target, std::uint64_t done,
              const std::function<void(std::uint64_t)>& reached)
      : target_(target), reached_(reached), written_(done), durable_(done) {
    thread_ = start_without_signals([this] { run(); });
  }
  // What was written before the copying failed is made durable, too.
  ~Checkpoints() { stop(); }
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  // All up to this byte is written. Throws what the last sync threw.
  void note_written(std::uint64_t done) {
    written_.store(done, std::memory_order_release);
    if (has_failed_.load(std::memory_order_acquire)) throw_failure();
  }

  void finish() {
    stop();
    if (has_failed_.load()) throw_failure();
  }

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      is_ended_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void run() {
    constexpr auto between = std::chrono::seconds(1);
    for (bool is_last = false; !is_last && !has_failed_.load();) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, between, [this] { return is_ended_; });
        is_last = is_ended_;
      }
      try {
        save();
      } catch (...) {
        failure_ = std::current_exception();
        has_failed_.store(true, std::memory_order_release);
      }
    }
  }

  void save() {
    // Before the sync: what is written meanwhile may not be covered by it.
    const std::uint64_t written = written_.load(std::memory_order_acquire);
    if (written == durable_) return;
    target_.sync();
    reached_(written);
    durable_ = written;
  }

  [[noreturn]] void throw_failure() const { std::rethrow_exception(failure_); }

  CaptureTarget& target_;
  const std::function<void(std::uint64_t)>& reached_;
  std::atomic<std::uint64_t> written_;
  std::uint64_t durable_;  // of the thread
  std::mutex mutex_;       // protects is_ended_
  std::condition_variable changed_;
  bool is_ended_ = false;
  std::exception_ptr failure_;  // before has_failed_
  std::atomic<bool> has_failed_{false};
  std::thread thread_;
};

// Chunks of zeros stay holes.
void write_data(CaptureTarget& target, const ReadAhead::Piece& piece) {
  const std::uint64_t begin = piece.range.begin, end = piece.range.end;
  const auto bytes_at = [&](std::uint64_t at) { return piece.data() + (at - begin); };
  std::uint64_t run = begin;  // of chunks that are alike
  bool run_is_zero = false;
  const auto put_run = [&](std::uint64_t up_to) {
    if (run == up_to) return;
    if (run_is_zero)
      target.zero({run, up_to});
    else
      target.write(bytes_at(run), up_to - run, run);
    run = up_to;
  };
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t next = std::min(end, (at / chunk_size + 1) * chunk_size);
    const bool is_zero = is_all_zeros(bytes_at(at), next - at);
    if (is_zero != run_is_zero) put_run(at);
    run_is_zero = is_zero;
    at = next;
  }
  put_run(end);
}

// The sectors that differ, from the first to the last.
Range differing(const std::byte* a, const std::byte* b, Range range) {
  Range result;
  for (std::uint64_t at = range.begin; at < range.end; at += sector_size) {
    const std::uint64_t length = std::min(sector_size, range.end - at);
    if (std::memcmp(a + (at - range.begin), b + (at - range.begin), length) == 0) continue;
    if (result.length() == 0) result.begin = at;
    result.end = at + length;
  }
  return result;
}

class CopyComparison {
 public:
  CopyComparison(const CaptureSource& source, CaptureTarget& target)
      : source_(source), target_(target), buffer_(ReadAhead::piece_size), zeros_(chunk_size) {}

  void compare(const ReadAhead::Piece& piece) {
    const std::byte* const copy = read(piece.range);
    if (std::memcmp(copy, piece.data(), piece.range.length()) != 0)
      fail(differing(copy, piece.data(), piece.range));
  }

  void require_zeros(Range range) {
    while ((range.begin = target_.next_data(range.begin)) < range.end) {
      const Range part{range.begin, std::min(range.end, range.begin + zeros_.size())};
      const std::byte* const copy = read(part);
      if (!is_all_zeros(copy, part.length())) fail(differing(copy, zeros_.data(), part));
      range.begin = part.end;
    }
  }

 private:
  const std::byte* read(Range range) {
    std::byte* const bytes = buffer_.at(range.begin);
    target_.read(bytes, range.length(), range.begin);
    return bytes;
  }

  [[noreturn]] void fail(Range range) const {
    throw Mismatch(EIO, "the copy differs from " + source_.name() + " in the bytes from " +
                            std::to_string(range.begin) + " to " + std::to_string(range.end - 1) +
                            ": the source was changed meanwhile, or one of the two disks, or the "
                            "memory of this machine, is faulty");
  }

  const CaptureSource& source_;
  CaptureTarget& target_;
  const DiskBuffer buffer_;
  const std::vector<std::byte> zeros_;
};

}  // namespace

void copy_disk(const CaptureSource& source, const Ranges& used, CaptureTarget& target,
               std::uint64_t done, const std::function<void(std::uint64_t)>& reached,
               const Progress& progress) {
  const std::uint64_t total = used.bytes();
  std::uint64_t copied = used.within({0, done}).bytes();
  target.begin_at(done);
  Checkpoints checkpoints(target, done, reached);
  ReadAhead ahead(source, used, {done, source.size()});
  while (auto piece = ahead.next()) {
    if (piece->kind == ReadAhead::Kind::data)
      write_data(target, *piece);
    else
      target.zero(piece->range);
    if (piece->kind != ReadAhead::Kind::free) copied += piece->range.length();
    checkpoints.note_written(piece->range.end);
    if (progress) progress(copied, total);
    ahead.give_back(std::move(*piece));
  }
  checkpoints.finish();
}

void verify_disk(const CaptureSource& source, const Ranges& used, CaptureTarget& target,
                 const Progress& progress) {
  const std::uint64_t total = used.bytes();
  std::uint64_t compared = 0;
  target.forget_cached();
  CopyComparison comparison(source, target);
  ReadAhead ahead(source, used, {0, source.size()});
  while (auto piece = ahead.next()) {
    if (piece->kind == ReadAhead::Kind::free) continue;
    if (piece->kind == ReadAhead::Kind::data)
      comparison.compare(*piece);
    else
      comparison.require_zeros(piece->range);
    compared += piece->range.length();
    if (progress) progress(compared, total);
    ahead.give_back(std::move(*piece));
  }
}

}  // namespace plydisk
