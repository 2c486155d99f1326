#include "multicast/chunk_assembly.hpp"

#include <algorithm>

namespace plydisk {

std::optional<ChunkAssembly::Chunk> ChunkAssembly::add(const Packet& packet) {
  const auto [found, is_new] = unfinished_.try_emplace(packet.chunk);
  Unfinished& chunk = found->second;
  if (is_new) {
    chunk.stride = packet.stride;
    chunk.bytes.resize(packet.chunk_length);
    chunk.has.resize(packet.count());
    chunk.missing = packet.count();
    chunk.age = by_age_.insert(by_age_.end(), packet.chunk);
    if (unfinished_.size() > most_unfinished_) {
      ++counters_.crowded_out;
      forget(by_age_.front());
      if (most_unfinished_ == 0) return std::nullopt;
    }
  } else if (chunk.stride != packet.stride || chunk.bytes.size() != packet.chunk_length) {
    ++counters_.misfitting;
    return std::nullopt;
  }
  if (chunk.has[packet.index]) {
    ++counters_.repeated;
    return std::nullopt;
  }
  chunk.has[packet.index] = true;
  std::copy(packet.piece.begin(), packet.piece.end(), chunk.bytes.begin() + packet.offset());
  if (--chunk.missing > 0) return std::nullopt;
  Chunk whole{packet.chunk, std::move(chunk.bytes)};
  forget(packet.chunk);
  return whole;
}

void ChunkAssembly::forget(std::uint32_t chunk) {
  const auto found = unfinished_.find(chunk);
  if (found == unfinished_.end()) return;
  by_age_.erase(found->second.age);
  unfinished_.erase(found);
}

}  // namespace plydisk
