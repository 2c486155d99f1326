// Which sectors a writable layer holds, in memory that outlives the process.
//
// A sparse file of 32-byte entries, one a chunk, mapped shared: a header of one page, then entry c
// at byte 4096 + 32·c. An acknowledged write is in the page cache with its bits, so a crash of the
// process loses nothing, flushed or not. A reboot of the machine might have lost any part of it:
// the header holds the kernel's boot id, and a map from another boot is not believed. Nor is one
// whose layer could not be synced: the page cache has what the disk has not, and calls it clean.
//
// State of a sector, by its two bits:
//   valid zero
//     0    0    not here: look in the layer below
//     1    0    in the data file
//     1    1    reads as zeros
//     0    1    pass: read the backing, past all layers below
// Readers take no lock. They load `zero` before `valid`, and writers change one bit at a time in an
// order in which each state on the way is right (Layer says how).
//
// Thread safety: find(), ensure() and disbelieve() from any thread; reset() and seal() before
// others see it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "base/file.hpp"
#include "base/units.hpp"

namespace plydisk {

struct ChunkState {
  SectorSet valid, zero;
  bool operator==(const ChunkState&) const = default;
  bool empty() const { return valid.empty() && zero.empty(); }
  SectorSet data() const { return valid & ~zero; }
  SectorSet zeros() const { return valid & zero; }
  SectorSet pass() const { return ~valid & zero; }
};

struct ChunkEntry {
  std::atomic<std::uint64_t> valid[2];
  std::atomic<std::uint64_t> zero[2];

  ChunkState load() const noexcept {
    ChunkState state;
    for (unsigned w = 0; w < 2; ++w) {
      state.zero.word[w] = zero[w].load(std::memory_order_acquire);
      state.valid.word[w] = valid[w].load(std::memory_order_acquire);
    }
    return state;
  }
};
static_assert(sizeof(ChunkEntry) == 32);

class ChunkMap {
 public:
  // Opens the file, or makes it, and changes nothing in it. `disk_size` in bytes.
  ChunkMap(const std::filesystem::path& path, const std::string& uuid, std::uint64_t disk_size,
           const std::string& boot_id);
  ~ChunkMap();
  ChunkMap(const ChunkMap&) = delete;
  ChunkMap& operator=(const ChunkMap&) = delete;

  // Whether the contents are this layer's and of this boot. If not, reset() the map before anything
  // else, fill it, and seal() it.
  bool believed() const noexcept { return believed_; }
  void reset();
  void seal();
  // From now on the file is not believed by those who open it; here it goes on to be used.
  void disbelieve() noexcept;

  // Null if no chunk near this one was ever written, which spares the memory of untouched parts.
  const ChunkEntry* find(std::uint64_t chunk) const noexcept {
    return is_present(chunk / entries_per_page) ? entries_ + chunk : nullptr;
  }
  // The entry, its memory allocated first. Throws ENOSPC or EDQUOT when there is no room.
  ChunkEntry& ensure(std::uint64_t chunk);

  // Calls fn(chunk, state) for each chunk that holds anything, in order.
  template <typename Fn>
  void for_each(Fn&& fn) const {
    any_of([&](std::uint64_t chunk, const ChunkState& state) {
      fn(chunk, state);
      return false;
    });
  }
  bool empty() const {
    return !any_of([](std::uint64_t, const ChunkState&) { return true; });
  }

 private:
  // Stops when fn returns true.
  template <typename Fn>
  bool any_of(Fn&& fn) const {
    for (std::uint64_t page = 0; page * entries_per_page < chunks_; ++page) {
      if (find(page * entries_per_page) == nullptr) {
        if (page % 64 == 0 && present_[page / 64].load(std::memory_order_acquire) == 0) page += 63;
        continue;
      }
      const std::uint64_t end = std::min(chunks_, (page + 1) * entries_per_page);
      for (std::uint64_t chunk = page * entries_per_page; chunk < end; ++chunk)
        if (const ChunkState state = entries_[chunk].load(); !state.empty() && fn(chunk, state))
          return true;
    }
    return false;
  }

  static constexpr std::uint64_t page_size = 4096;
  static constexpr std::uint64_t entries_per_page = page_size / sizeof(ChunkEntry);
  // Pages are allocated in windows of so many, since one at a time costs four times as much.
  static constexpr std::uint64_t window_pages = 4;

  struct Header;
  Header make_header() const;
  void find_present_pages();
  bool is_present(std::uint64_t page) const noexcept {
    return (present_[page / 64].load(std::memory_order_acquire) >> (page % 64) & 1) != 0;
  }
  void allocate_window(std::uint64_t page);

  File file_;
  std::string uuid_, boot_id_;
  std::uint64_t disk_size_, chunks_, length_;
  std::byte* base_ = nullptr;
  ChunkEntry* entries_ = nullptr;
  bool believed_ = false;
  std::mutex allocate_mutex_;  // serializes the first touch of pages
  // One bit a page of entries: allocated, safe to touch.
  std::unique_ptr<std::atomic<std::uint64_t>[]> present_;
};

}  // namespace plydisk
