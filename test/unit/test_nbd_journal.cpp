// What is kept of the writes to a server until a flush covers them.
#include <algorithm>
#include <random>

#include "backing/nbd_journal.hpp"
#include "test_support.hpp"

using namespace plydisk;

TEST_CASE("what was written again later is left out") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    constexpr std::uint64_t size = 64;
    NbdJournal journal;
    std::vector<int> disk(size, -1);  // -1: nobody wrote there
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t from = random() % size, length = 1 + random() % (size - from);
      const bool is_zero = random() % 4 == 0;
      std::vector<std::byte> data(is_zero ? 0 : length, static_cast<std::byte>(i + 1));
      std::fill_n(disk.begin() + static_cast<std::ptrdiff_t>(from), length, is_zero ? 0 : i + 1);
      journal.add(from, length, std::move(data), false);
    }
    std::vector<int> seen(size, -1);
    for (const UnflushedWrite& piece : journal.newest(10)) {
      CHECK(piece.length <= 10);
      CHECK((piece.data.empty() || piece.data.size() == piece.length));
      for (std::uint64_t i = 0; i < piece.length; ++i) {
        CHECK(seen[piece.offset + i] == -1);  // once
        seen[piece.offset + i] = piece.data.empty() ? 0 : static_cast<int>(piece.data[i]);
      }
    }
    CHECK(seen == disk);
  }
}
