#include "capture/ranges.hpp"

#include <algorithm>

namespace plydisk {

Ranges::Ranges(std::initializer_list<Range> ranges) {
  for (const Range& range : ranges) add(range);
}

void Ranges::add(Range range) {
  if (range.begin >= range.end) return;
  // Mostly they come in order.
  if (list_.empty() || list_.back().end < range.begin) {
    list_.push_back(range);
    return;
  }
  const auto first =
      std::lower_bound(list_.begin(), list_.end(), range.begin,
                       [](const Range& known, std::uint64_t at) { return known.end < at; });
  auto last = first;
  while (last != list_.end() && last->begin <= range.end) {
    range.begin = std::min(range.begin, last->begin);
    range.end = std::max(range.end, last->end);
    ++last;
  }
  list_.insert(list_.erase(first, last), range);
}

void Ranges::remove(Range range) { remove(Ranges{range}); }

void Ranges::remove(const Ranges& others) {
  std::vector<Range> left;
  auto other = others.list_.begin();
  for (Range range : list_) {
    while (other != others.list_.end() && other->end <= range.begin) ++other;
    for (auto cut = other; cut != others.list_.end() && cut->begin < range.end; ++cut) {
      if (cut->begin > range.begin) left.push_back({range.begin, cut->begin});
      range.begin = std::min(cut->end, range.end);
    }
    if (range.begin < range.end) left.push_back(range);
  }
  list_ = std::move(left);
}

std::uint64_t Ranges::bytes() const {
  std::uint64_t sum = 0;
  for (const Range& range : list_) sum += range.length();
  return sum;
}

Ranges Ranges::within(Range range) const {
  Ranges result;
  for (const Range& known : list_)
    result.add({std::max(known.begin, range.begin), std::min(known.end, range.end)});
  return result;
}

}  // namespace plydisk
