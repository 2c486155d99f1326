// The writes that an NBD server has answered and no flush has covered yet: a server that starts
// anew, or another machine in its place, may not have them.
//
// Thread safety: none; the owner's lock protects it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace plydisk {

struct UnflushedWrite {
  std::uint64_t number;
  std::uint64_t offset, length;  // bytes
  std::vector<std::byte> data;   // empty: zeros
  bool may_punch = false;        // zeros may be deallocated
};

class NbdJournal {
 public:
  // In the order in which they were answered, so that what was written later is written later.
  void add(std::uint64_t offset, std::uint64_t length, std::vector<std::byte> data,
           bool may_punch) {
    bytes_ += data.size() + sizeof(UnflushedWrite);
    writes_.push_back({++last_, offset, length, std::move(data), may_punch});
  }
  // The number of the last one; later ones have higher numbers.
  std::uint64_t last() const noexcept { return last_; }
  // Forgets all up to `number`: a flush that began when that was the last has succeeded.
  void forget(std::uint64_t number) {
    while (!writes_.empty() && writes_.front().number <= number) {
      bytes_ -= writes_.front().data.size() + sizeof(UnflushedWrite);
      writes_.pop_front();
    }
  }
  // Memory that they take.
  std::uint64_t bytes() const noexcept { return bytes_; }
  const std::deque<UnflushedWrite>& writes() const noexcept { return writes_; }
  // The same without what was written again later, in pieces that do not overlap, of at most
  // `longest` bytes.
  std::vector<UnflushedWrite> newest(std::uint64_t longest = std::uint64_t{1} << 20) const;

 private:
  std::deque<UnflushedWrite> writes_;
  std::uint64_t last_ = 0, bytes_ = 0;
};

}  // namespace plydisk
