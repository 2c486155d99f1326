// A version of a disk is its state at one moment, at both ends. While a station's writes stay
// there, the server's part does not change, and the moment is when another layer takes them here.
//
// While they go to the server, its moment counts, and nobody is held up until both ends have
// answered each other:
//   1. the server begins a new layer;
//   2. requests that are under way here are waited for, so that of what the server has written
//      before 1 the pass layer here tells;
//   3. it is noted of which sectors the newest copy is here;
//   4. the server begins a new layer again: that is the moment.
// A sector that is written to the server between 1 and 4 is in the layer of that time, which covers
// what is sent from here. One that was written there before is not among what is noted. And one
// that is written after 4 has been noted as it was.
#include "store/own_layers.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

namespace {

// `frozen`: nobody writes to it. `top`: takes sectors from it meanwhile; null: there is none.
OwnLayers find_own_sectors(std::shared_ptr<const Stack> frozen, const Layer* top) {
  OwnLayers own;
  for (const std::uint64_t chunk : chunks_held(frozen->layers)) {
    SectorSet wanted = SectorSet::all(), data;
    if (top != nullptr) {
      const ChunkState newer = top->find(chunk);
      wanted &= ~(newer.valid | newer.zero);
    }
    const auto [zeros, pass] = for_each_newest(
        frozen->layers, chunk, wanted,
        [&](const Layer&, unsigned first, unsigned n) { data |= SectorSet::range(first, n); });
    if ((data | zeros).empty()) continue;
    own.chunks.push_back({chunk, data, zeros});
    own.bytes += (data.count() + zeros.count()) * sector_size;
  }
  own.stack = std::move(frozen);
  return own;
}

}  // namespace

OwnLayers StoreImpl::freeze_own_layers(const std::string& name, std::uint64_t number) {
  if (!options_.upstream) throw Error(ENOTSUP, "this disk's server makes no versions");
  const SessionPtr session = live_session(name);
  if (!session) throw Error(EINVAL, "session " + quote(name) + " is at rest");
  // Held to the end: no redirection comes in between, and so no write at the other end.
  const std::lock_guard change(session->change_mutex);
  if (session->ended) throw Error(ESHUTDOWN, "session " + quote(name) + " has ended");
  if (const std::string reason = session->disk->shut_reason(); !reason.empty())
    throw Error(ESTALE, reason);
  // The server has all that was written there, and others have not changed it.
  bring_back(*session);
  agreement_.restore();

  const bool goes_on = passes(session->record.writes);
  if (goes_on) {
    options_.upstream->freeze(number, true);
    session->disk->drain();
  } else if (begin_new_top(*session)) {
    compact_if_possible(*session);
  }
  Stack stack = session->disk->stack();
  stack.version.reset();
  std::shared_ptr<Layer> top;
  if (session->begun && !stack.layers.empty()) {
    top = stack.layers.front();
    stack.layers.erase(stack.layers.begin());
  }
  OwnLayers own =
      find_own_sectors(keep_view(std::move(stack), false).stack, goes_on ? top.get() : nullptr);
  options_.upstream->freeze(number, false);
  return own;
}

}  // namespace plydisk
