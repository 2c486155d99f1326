#include "multicast/chunk_cache.hpp"

#include <algorithm>

namespace plydisk {

void ChunkCache::put(std::uint64_t chunk, std::vector<std::byte> bytes, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  expire(now);
  if (bytes.size() > limit_) return;
  if (const auto found = by_chunk_.find(chunk); found != by_chunk_.end()) erase(found->second);
  while (counters_.bytes + bytes.size() > limit_) {
    if (!entries_.front().used) ++counters_.crowded_out;
    erase(entries_.begin());
  }
  ++counters_.heard;
  counters_.bytes += bytes.size();
  const auto sectors = static_cast<unsigned>((bytes.size() + sector_size - 1) / sector_size);
  by_chunk_[chunk] = entries_.insert(
      entries_.end(), Entry{chunk, std::move(bytes), now, SectorSet::range(0, sectors)});
}

bool ChunkCache::read(std::uint64_t chunk, std::size_t offset, std::span<std::byte> out,
                      Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  expire(now);
  const auto found = by_chunk_.find(chunk);
  if (found == by_chunk_.end()) return false;
  Entry& entry = *found->second;
  if (offset + out.size() > entry.bytes.size()) return false;
  std::copy_n(entry.bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
  if (!entry.used) {
    entry.used = true;
    ++counters_.used;
  }
  const std::size_t end = offset + out.size();
  const auto first = static_cast<unsigned>((offset + sector_size - 1) / sector_size);
  // The last sector of a disk may be a part of one.
  const auto last = static_cast<unsigned>(
      end == entry.bytes.size() ? (end + sector_size - 1) / sector_size : end / sector_size);
  if (last > first) entry.unread &= ~SectorSet::range(first, last - first);
  if (entry.unread.empty()) erase(found->second);
  return true;
}

bool ChunkCache::has(std::uint64_t chunk, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  expire(now);
  return by_chunk_.contains(chunk);
}

void ChunkCache::drop(std::uint64_t chunk) {
  const std::lock_guard lock(mutex_);
  if (const auto found = by_chunk_.find(chunk); found != by_chunk_.end()) erase(found->second);
}

ChunkCache::Counters ChunkCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void ChunkCache::expire(Clock::time_point now) {
  while (!entries_.empty() && now - entries_.front().heard > timeout_) {
    if (!entries_.front().used) ++counters_.aged;
    erase(entries_.begin());
  }
}

void ChunkCache::erase(Entries::iterator entry) {
  counters_.bytes -= entry->bytes.size();
  by_chunk_.erase(entry->chunk);
  entries_.erase(entry);
}

}  // namespace plydisk
