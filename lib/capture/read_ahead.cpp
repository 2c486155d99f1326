#include "capture/read_ahead.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/thread.hpp"

namespace plydisk {

namespace {

constexpr std::size_t most_ahead = 4;  // pieces with data

// Nobody takes the pieces any more.
struct Unwanted {};

}  // namespace

ReadAhead::ReadAhead(const CaptureSource& source, const Ranges& used, Range whole)
    : source_(source), used_(used), whole_(whole) {
  thread_ = start_without_signals([this] { run(); });
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(mutex_);
    is_unwanted_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::optional<ReadAhead::Piece> ReadAhead::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !pieces_.empty() || is_ended_; });
  if (pieces_.empty()) {
    if (failure_) std::rethrow_exception(failure_);
    return {};
  }
  Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  if (piece.kind == Kind::data) --data_pieces_;
  lock.unlock();
  changed_.notify_all();
  return piece;
}

void ReadAhead::give_back(Piece piece) {
  if (!piece.buffer) return;
  const std::lock_guard lock(mutex_);
  buffers_.push_back(std::move(piece.buffer));
}

void ReadAhead::run() {
  std::exception_ptr failure;
  try {
    used_.for_each_part(whole_, [this](Range range, bool is_used) {
      if (is_used)
        read_used(range);
      else
        push({range, Kind::free, {}});
    });
  } catch (const Unwanted&) {
  } catch (...) {
    failure = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    is_ended_ = true;
  }
  changed_.notify_all();
}

void ReadAhead::read_used(Range range) {
  source_.for_each_extent(range, [&](std::uint64_t at, std::uint64_t bytes, bool is_zero) {
    const std::uint64_t end = at + bytes;
    if (is_zero) return push({{at, end}, Kind::hole, {}});
    while (at < end) {
      // Up to a multiple of the piece's size.
      const std::uint64_t next = std::min(end, (at / piece_size + 1) * piece_size);
      Piece piece{{at, next}, Kind::data, take_buffer()};
      try {
        source_.read(piece.data(), next - at, at);
      } catch (const Error& error) {
        throw Error(error.code(), std::string(error.what()) + " (in the " +
                                      std::to_string(next - at) + " bytes from byte " +
                                      std::to_string(at) + " on)");
      }
      push(std::move(piece));
      at = next;
    }
  });
}

void ReadAhead::push(Piece piece) {
  std::unique_lock lock(mutex_);
  // Holes take no memory to speak of, but are not to pile up either.
  constexpr std::size_t most_pieces = 1000;
  changed_.wait(lock, [this] {
    return is_unwanted_ || (data_pieces_ < most_ahead && pieces_.size() < most_pieces);
  });
  if (is_unwanted_) throw Unwanted();
  if (piece.kind == Kind::data) ++data_pieces_;
  pieces_.push_back(std::move(piece));
  lock.unlock();
  changed_.notify_all();
}

DiskBuffer ReadAhead::take_buffer() {
  const std::lock_guard lock(mutex_);
  if (buffers_.empty()) return DiskBuffer(piece_size);
  DiskBuffer buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

}  // namespace plydisk
