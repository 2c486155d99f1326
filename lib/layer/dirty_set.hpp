// The chunks whose state changed since it was last written to the sector index.
//
// Thread safety: mark() from any thread, also while another takes. What is marked before take()
// begins is taken by it; what is marked meanwhile is taken by it or by the next.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <new>
#include <vector>

namespace plydisk {

class DirtySet {
 public:
  explicit DirtySet(std::uint64_t chunks)
      : words_(chunks / 64 + 1), summary_words_(words_ / 64 + 1) {
    // Anonymous memory costs nothing until it is touched.
    length_ = (words_ + summary_words_) * sizeof(Word);
    void* const memory = ::mmap(nullptr, length_, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    word_ = static_cast<Word*>(memory);
    summary_ = word_ + words_;
  }
  ~DirtySet() { ::munmap(word_, length_); }
  DirtySet(const DirtySet&) = delete;
  DirtySet& operator=(const DirtySet&) = delete;

  void mark(std::uint64_t chunk) noexcept {
    set(word_[chunk / 64], 1ULL << (chunk % 64));
    // Always, even if the bit was there: who set it may not have come to this line yet.
    const std::uint64_t word = chunk / 64;
    set(summary_[word / 64], 1ULL << (word % 64));
    // Who took the set before this is seen will see the bits that are set above.
    if (!any_.load()) any_.store(true);
  }

  bool empty() const noexcept { return !any_.load(); }

  // All marked chunks, in order, no longer marked.
  std::vector<std::uint64_t> take() {
    std::vector<std::uint64_t> chunks;
    // From the outside in, the opposite of mark(): so a mark is never left without its summary.
    if (!any_.exchange(false)) return chunks;
    for (std::uint64_t s = 0; s < summary_words_; ++s) {
      if (summary_[s].load() == 0) continue;
      for (std::uint64_t bits = summary_[s].exchange(0); bits != 0; bits &= bits - 1) {
        const std::uint64_t w = s * 64 + static_cast<unsigned>(std::countr_zero(bits));
        for (std::uint64_t marks = word_[w].exchange(0); marks != 0; marks &= marks - 1)
          chunks.push_back(w * 64 + static_cast<unsigned>(std::countr_zero(marks)));
      }
    }
    return chunks;
  }

 private:
  using Word = std::atomic<std::uint64_t>;
  static void set(Word& word, std::uint64_t bit) noexcept {
    if ((word.load() & bit) == 0) word.fetch_or(bit);
  }

  std::uint64_t words_, summary_words_, length_ = 0;
  Word* word_ = nullptr;
  Word* summary_ = nullptr;
  std::atomic<bool> any_{false};
};

}  // namespace plydisk
