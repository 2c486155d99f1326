#include "backing/nbd_journal.hpp"

#include <algorithm>
#include <map>

namespace plydisk {

std::vector<UnflushedWrite> NbdJournal::newest(std::uint64_t longest) const {
  std::vector<UnflushedWrite> pieces;
  std::map<std::uint64_t, std::uint64_t> covered;  // from, to; they do not touch
  const auto add = [&](const UnflushedWrite& write, std::uint64_t from, std::uint64_t to) {
    for (; from < to; from += longest) {
      UnflushedWrite piece{write.number, from, std::min(longest, to - from), {}, write.may_punch};
      if (!write.data.empty()) {
        const auto begin = write.data.begin() + static_cast<std::ptrdiff_t>(from - write.offset);
        piece.data.assign(begin, begin + static_cast<std::ptrdiff_t>(piece.length));
      }
      pieces.push_back(std::move(piece));
    }
  };
  for (auto write = writes_.rbegin(); write != writes_.rend(); ++write) {
    std::uint64_t from = write->offset, to = write->offset + write->length, at = from;
    auto next = covered.upper_bound(from);
    if (next != covered.begin() && std::prev(next)->second >= from) --next;
    while (next != covered.end() && next->first <= to) {
      if (at < next->first) add(*write, at, next->first);
      at = std::max(at, next->second);
      from = std::min(from, next->first);
      to = std::max(to, next->second);
      next = covered.erase(next);
    }
    if (at < write->offset + write->length) add(*write, at, write->offset + write->length);
    covered[from] = to;
  }
  return pieces;
}

}  // namespace plydisk
