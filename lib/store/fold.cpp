// Bringing layers of a live session together: to keep what is volatile, and to keep them few.
#include <algorithm>

#include "base/error.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

namespace {

// So many layers may lie under the current one before they are folded.
constexpr std::size_t most_frozen_layers = 8;

bool has_pass_sectors(const Layer& layer) {
  bool has = false;
  layer.for_each([&](std::uint64_t, const ChunkState& state) { has |= !state.pass().empty(); });
  return has;
}

// Of layers that become one. What the session itself has passed on is what must not be missed.
Passed joined(const std::vector<LayerRecord>& layers, const std::string& writer) {
  Passed passed;
  for (const LayerRecord& layer : layers) {
    for (auto field : {&Passed::to_image, &Passed::to_layers})
      if (!(layer.passed.*field).empty() && passed.*field != writer)
        passed.*field = layer.passed.*field;
  }
  return passed;
}

std::uint64_t chunks_of(const Layer& layer) {
  std::uint64_t chunks = 0;
  layer.for_each([&](std::uint64_t, const ChunkState&) { ++chunks; });
  return chunks;
}

}  // namespace

// Replaces layers first … last (positions, 0 is the oldest) by one that holds what they held.
std::uint64_t StoreImpl::fold_layers(LiveSession& session, std::size_t first, std::size_t last,
                                     Destination destination, const Progress& progress) {
  const Stack stack = session.disk->stack();
  const auto position = [&](std::size_t i) {
    return stack.layers.begin() + static_cast<std::ptrdiff_t>(stack.layers.size() - 1 - i);
  };
  const std::vector<std::shared_ptr<Layer>> folded(position(last), position(first) + 1);
  LayerRecord record = new_layer(session, destination);
  record.kind = "data";
  record.parent = first == 0 ? "" : session.layers[first - 1].uuid;
  const auto layer = create_layer(session, record);
  std::uint64_t copied = 0;
  const std::vector<LayerRecord> before = session.layers;
  const std::vector<LayerRecord> gone(before.begin() + static_cast<std::ptrdiff_t>(first),
                                      before.begin() + static_cast<std::ptrdiff_t>(last) + 1);
  try {
    copied = fold(folded, *layer, progress);
    layer->settle();
    // At a station, also where what passed to the server left no sectors here.
    const bool was_mixed = std::any_of(gone.begin(), gone.end(),
                                       [](const LayerRecord& one) { return one.kind != "data"; });
    if (has_pass_sectors(*layer) || (is_station() && was_mixed)) record.kind = "mixed";
    std::vector<LayerRecord> written;
    for (std::size_t i = 0; i < gone.size(); ++i)
      if (!folded[folded.size() - 1 - i]->empty()) written.push_back(gone[i]);
    record.passed = joined(written, session.record.writer);
    session.layers.erase(session.layers.begin() + static_cast<std::ptrdiff_t>(first),
                         session.layers.begin() + static_cast<std::ptrdiff_t>(last) + 1);
    session.layers.insert(session.layers.begin() + static_cast<std::ptrdiff_t>(first), record);
    save(session);
  } catch (...) {
    session.layers = before;
    remove_layers({record});
    throw;
  }
  session.disk->change([&](Stack& now, bool&) {
    const auto at = now.layers.end() - static_cast<std::ptrdiff_t>(last) - 1;
    const auto end = now.layers.end() - static_cast<std::ptrdiff_t>(first);
    now.layers.insert(now.layers.erase(at, end), layer);
  });
  remove_layers(gone);
  return copied;
}

// Brings everything down so that it survives: the current layer is at the top already and takes the
// writes, so what lies below it no longer changes. Returns the bytes moved.
std::uint64_t StoreImpl::carry(LiveSession& session, Destination destination,
                               const Progress& progress) {
  if (passes(destination)) {
    const std::uint64_t copied = copy_into_backing(session, progress);
    drop_all_layers(session);
    return copied;
  }
  const std::size_t kept = surviving(session.layers);
  const std::size_t top = session.layers.size() - 1;
  if (kept >= top) return 0;
  return fold_layers(session, kept, top - 1, destination, progress);
}

// What lies below the current layer, which passes the writes on.
std::uint64_t StoreImpl::copy_into_backing(const LiveSession& session, const Progress& progress) {
  const Stack stack = session.disk->stack();
  if (stack.layers.empty()) return 0;
  Layer& top = *stack.layers.front();
  Stack below = stack;
  below.layers.erase(below.layers.begin());
  Backing& backing = stack.version->backing();
  const std::vector<std::uint64_t> chunks = chunks_held(below.layers);

  std::uint64_t copied = 0, done = 0;
  std::vector<std::byte> buffer(chunk_size);
  for (const std::uint64_t chunk : chunks) {
    SectorSet written;
    for (const auto& layer : below.layers) {
      const ChunkState state = layer->find(chunk);
      written |= state.valid | state.zero;
    }
    {
      // Alone: what the station writes now is newer, and must not be overtaken.
      const std::lock_guard lock(top.chunk_lock(chunk));
      const ChunkState newer = top.find(chunk);
      (written & ~(newer.valid | newer.zero)).for_each_run([&](unsigned first, unsigned count) {
        const std::uint64_t offset = chunk * chunk_size + first * sector_size;
        below.read(buffer.data(), count * sector_size, offset);
        backing.write(buffer.data(), count * sector_size, offset);
        copied += count * sector_size;
      });
    }
    if (progress && ++done % 64 == 0) progress(done * chunk_size, chunks.size() * chunk_size);
  }
  backing.flush();
  return copied;
}

// Once the backing has all that was in them.
void StoreImpl::drop_all_layers(LiveSession& session) {
  const std::vector<LayerRecord> gone = std::exchange(session.layers, {});
  try {
    save(session);
  } catch (...) {
    session.layers = gone;
    throw;
  }
  session.disk->change([](Stack& now, bool&) { now.layers.clear(); });
  remove_layers(gone);
}

// Folds frozen layers when there are many, the newest first, and as long as the next older one is
// not much larger than what is folded already: so a sector is copied a few times at most, however
// often a session is redirected. Layers that survive a boot and layers that do not are never mixed.
void StoreImpl::compact(LiveSession& session) {
  // Before its first write a session has no place of its own, but what an earlier one has left.
  if (!session.begun || session.layers.size() < 2) return;
  const std::size_t kept = surviving(session.layers);
  const std::size_t top = session.layers.size() - 1;  // takes the writes
  const std::size_t oldest = kept < top ? kept : 0;
  if (top - oldest < most_frozen_layers) return;
  const Stack stack = session.disk->stack();
  const auto chunks_at = [&](std::size_t i) {
    return chunks_of(*stack.layers[stack.layers.size() - 1 - i]);
  };
  std::size_t first = top - 1;
  std::uint64_t folded = chunks_at(first);
  while (first > oldest) {
    const std::uint64_t next = chunks_at(first - 1);
    if (top - first >= most_frozen_layers / 2 && next > 2 * folded) break;
    folded += next;
    --first;
  }
  std::uint64_t bytes = 0;
  for (std::size_t i = first; i < top; ++i)
    bytes += stack.layers[stack.layers.size() - 1 - i]->allocated();
  std::error_code error;
  const auto space = std::filesystem::space(directory_, error);
  // Other stations need what is left more; many layers cost some speed, and no more.
  if (error || space.available < 2 * bytes) return;
  fold_layers(session, first, top - 1, destination_of_fold(session, first, top - 1), nullptr);
}

// Where what layers first … last held lies once they are one: where it survives as they did, and of
// a station's places on the disk rather than in memory.
Destination StoreImpl::destination_of_fold(const LiveSession& session, std::size_t first,
                                           std::size_t last) const {
  const bool survives = surviving(session.layers) > last;
  if (!is_station())
    return survives ? Destination::server_persistent : Destination::server_volatile;
  const auto has = [&](Destination destination) {
    return std::any_of(session.layers.begin() + static_cast<std::ptrdiff_t>(first),
                       session.layers.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                       [&](const auto& layer) { return layer.destination == destination; });
  };
  if (survives) return Destination::client_persistent;
  return has(Destination::client_volatile) ? Destination::client_volatile : Destination::client_ram;
}

}  // namespace plydisk
