// Reads a source from its beginning to its end, in a thread of its own, ahead of who takes it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/disk_buffer.hpp"
#include "capture/source.hpp"

namespace plydisk {

// Thread safety: one thread takes.
class ReadAhead {
 public:
  static constexpr std::size_t piece_size = 4 << 20;  // bytes

  // Of `whole`, in order. What is not in `used` comes as free; null: all is used. The arguments
  // must live as long as this.
  ReadAhead(const CaptureSource& source, const Ranges& used, Range whole);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  enum class Kind { free, hole, data };
  struct Piece {
    Range range;
    Kind kind = Kind::free;
    DiskBuffer buffer;  // for data
    std::byte* data() const { return buffer.at(range.begin); }
  };
  // The next piece; none: that was all. Throws what reading threw, with the place.
  std::optional<Piece> next();
  // Gives a piece's buffer back, to be used again.
  void give_back(Piece piece);

 private:
  void run();
  void read_used(Range range);
  void push(Piece piece);
  DiskBuffer take_buffer();

  const CaptureSource& source_;
  const Ranges& used_;
  const Range whole_;
  std::mutex mutex_;  // protects all below
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  std::vector<DiskBuffer> buffers_;
  std::size_t data_pieces_ = 0;  // among pieces_
  bool is_ended_ = false;        // by the reader
  bool is_unwanted_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace plydisk
