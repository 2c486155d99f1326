// A station that has joined a group: what it hears, what it may take of that, and whether it pays
// to ask for more.
//
// Thread safety: all functions from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "multicast/receiver.hpp"
#include "multicast/upstream.hpp"

namespace plydisk {

// The chunks of a disk that a station has written to its server. What is heard is not good for
// those any more, however long ago it was.
class WrittenChunks {
 public:
  explicit WrittenChunks(std::uint64_t disk_size)
      : words_((chunk_count(disk_size) + word_bits - 1) / word_bits) {}
  // Before anything of the range goes to the server.
  void add(std::uint64_t offset, std::uint64_t length) {
    if (length == 0) return;
    for (std::uint64_t chunk = offset / chunk_size; chunk <= (offset + length - 1) / chunk_size;
         ++chunk)
      if (!has(chunk)) words_[chunk / word_bits].fetch_or(bit(chunk));
  }
  bool has(std::uint64_t chunk) const {
    return (words_[chunk / word_bits].load() & bit(chunk)) != 0;
  }

 private:
  static constexpr std::uint64_t word_bits = 64;
  static std::uint64_t bit(std::uint64_t chunk) { return std::uint64_t{1} << chunk % word_bits; }
  std::vector<std::atomic<std::uint64_t>> words_;
};

class MulticastMember {
 public:
  using Clock = ChunkCache::Clock;
  // `interface`: the station's own; empty: the system's choice. `connection`: the one to the server
  // that it goes with. `wake` is called when next_range() has something new. Throws Error as
  // MulticastReceiver.
  MulticastMember(const MulticastOffer& offer, const std::string& interface,
                  std::uint64_t connection, std::shared_ptr<const WrittenChunks> written,
                  std::function<void()> wake);

  const MulticastOffer& offer() const noexcept { return offer_; }
  std::uint64_t connection() const noexcept { return connection_; }

  // Copies bytes of the chunk that begin at `offset` into `out`, if they are here.
  bool take(std::uint64_t chunk, std::size_t offset, std::span<std::byte> out);
  // Whether it may be taken once it is heard.
  bool is_wanted(std::uint64_t chunk) { return find_hash(chunk).has_value(); }
  // Whether the server may be asked for something: not if nothing is heard, or it refused just now.
  bool may_ask();
  // What became of that: whether the chunk came. Waits for it.
  bool wait_for(std::uint64_t chunk, Clock::time_point asked);
  void note_asked(std::uint64_t chunk, std::uint64_t count);
  void note_refused(std::uint64_t count);
  void note_read(std::uint64_t heard, std::uint64_t unicast);  // bytes

  // The next range of chunks of which somebody looked for a hash; and what they are.
  std::optional<std::uint64_t> next_range();
  void put_hashes(std::uint64_t range, std::vector<std::optional<ChunkHash>> hashes);
  // They were not to be had; they may be asked for again.
  void miss_hashes(std::uint64_t range);

  // What was sent is not heard.
  bool is_silent();
  // The chunk that was asked for last, to try whether something is heard by now.
  std::uint64_t last_asked() const noexcept { return last_asked_.load(); }
  MulticastCounters counters() const;
  std::size_t ranges_known() const;
  std::uint64_t bytes_kept() { return receiver_.cache().counters().bytes; }

 private:
  using Hashes = std::vector<std::optional<ChunkHash>>;
  std::optional<ChunkHash> find_hash(std::uint64_t chunk);

  const MulticastOffer offer_;
  const std::uint64_t connection_;
  const std::shared_ptr<const WrittenChunks> written_;
  const std::function<void()> wake_;

  mutable std::mutex mutex_;                               // protects the next
  std::map<std::uint64_t, std::optional<Hashes>> ranges_;  // none: they were not given yet
  std::vector<std::uint64_t> wanted_;                      // of those, not asked for yet

  std::atomic<Clock::rep> silent_since_{0}, refused_until_{0};  // 0: it is not
  std::atomic<std::uint64_t> last_asked_{0};
  std::atomic<std::uint64_t> asked_{0}, refusals_{0}, missed_{0}, bytes_heard_{0},
      bytes_unicast_{0};
  // The last: its thread uses the others.
  MulticastReceiver receiver_;
};

}  // namespace plydisk
