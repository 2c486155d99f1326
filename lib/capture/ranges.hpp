// Ranges of bytes of a disk, and sets of them.
#pragma once

#include <cstdint>
#include <vector>

namespace plydisk {

struct Range {
  std::uint64_t begin = 0, end = 0;  // bytes; `end` is the first that is not in it
  std::uint64_t length() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// A set of bytes, as ranges that are in order and don't touch each other.
class Ranges {
 public:
  Ranges() = default;
  Ranges(std::initializer_list<Range> ranges);

  // In any order, of any length, also over what is there.
  void add(Range range);
  void remove(Range range);
  void remove(const Ranges& others);
  const std::vector<Range>& list() const { return list_; }
  std::uint64_t bytes() const;
  // What of it lies in the range.
  Ranges within(Range range) const;
  bool operator==(const Ranges&) const = default;

  // Calls fn(range, is_in) for the whole of `whole`, in order, without gaps.
  template <typename Fn>
  void for_each_part(Range whole, Fn&& fn) const {
    std::uint64_t at = whole.begin;
    for (const Range& range : within(whole).list_) {
      if (range.begin > at) fn(Range{at, range.begin}, false);
      fn(range, true);
      at = range.end;
    }
    if (at < whole.end) fn(Range{at, whole.end}, false);
  }

 private:
  std::vector<Range> list_;
};

}  // namespace plydisk
