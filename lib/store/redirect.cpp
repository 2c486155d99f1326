// Redirection: another destination for a live session's writes, without disturbing its station.
#include <algorithm>
#include <ctime>

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

std::uint64_t chunks_of(const Layer& layer) {
  std::uint64_t chunks = 0;
  layer.for_each([&](std::uint64_t, const ChunkState&) { ++chunks; });
  return chunks;
}

}  // namespace

void StoreImpl::require_may_go_direct(LiveSession& session, const RedirectOptions& options) {
  const ImageRecord image = catalogue_.image(session.record.image);
  const Stack stack = session.disk->stack();
  if (stack.version->has_layers())
    throw Error(EINVAL, "version " + std::to_string(session.record.version) + " of image " +
                            quote(image.name) +
                            " has frozen layers, so there is nothing to write to directly");
  require_image_free(image, Destination::direct, session.record.id);
  const bool has_written = std::any_of(stack.layers.begin(), stack.layers.end(),
                                       [](const auto& layer) { return !layer->empty(); });
  if (has_written && !options.carry && !options.force)
    throw Error(EBUSY,
                "session " + session.record.id +
                    " has written to layers that the image would lack; --carry moves all of it "
                    "into the image first, --force leaves it where it is");
}

// Opens a new layer on top. Returns the pause in milliseconds.
double StoreImpl::push_layer(LiveSession& session, Destination destination) {
  const Stack before = session.disk->stack();
  const auto& backing = before.version->shared_backing();
  const LayerRecord record = new_layer(session, destination);
  const auto layer = create_layer(record, backing);
  session.layers.push_back(record);
  const Destination old_writes = std::exchange(session.record.writes, destination);
  try {
    // Before the first write can reach the layer: a restart must find it.
    save(session);
  } catch (...) {
    session.layers.pop_back();
    session.record.writes = old_writes;
    remove_layers({record});
    throw;
  }
  std::shared_ptr<Layer> unused;
  const bool direct = destination == Destination::direct;
  const double pause = session.disk->change([&](Stack& stack, bool& is_direct) {
    if (!stack.layers.empty() && stack.layers.front()->empty()) {
      unused = stack.layers.front();
      stack.layers.erase(stack.layers.begin());
    }
    stack.layers.insert(stack.layers.begin(), layer);
    is_direct = direct;
  });
  session.begun = true;
  if (unused) {
    const std::vector<LayerRecord> gone{session.layers[session.layers.size() - 2]};
    session.layers.erase(session.layers.end() - 2);
    save(session);
    remove_layers(gone);
  } else if (!before.layers.empty()) {
    // What survives the next boot is the old layer as it was when it was left.
    before.layers.front()->settle();
  }
  return pause;
}

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
  const auto layer = create_layer(record, stack.version->shared_backing());
  std::uint64_t copied = 0;
  const std::vector<LayerRecord> before = session.layers;
  const std::vector<LayerRecord> gone(before.begin() + static_cast<std::ptrdiff_t>(first),
                                      before.begin() + static_cast<std::ptrdiff_t>(last) + 1);
  try {
    copied = fold(folded, *layer, progress);
    layer->settle();
    if (has_pass_sectors(*layer)) record.kind = "mixed";
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
  if (destination == Destination::direct) return carry_into_backing(session, progress);
  const std::size_t kept = surviving(session.layers);
  const std::size_t top = session.layers.size() - 1;
  if (kept >= top) return 0;
  return fold_layers(session, kept, top - 1, destination, progress);
}

std::uint64_t StoreImpl::carry_into_backing(LiveSession& session, const Progress& progress) {
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
  const std::vector<LayerRecord> gone = std::exchange(session.layers, {});
  try {
    save(session);
  } catch (...) {
    session.layers = gone;
    throw;
  }
  session.disk->change([](Stack& now, bool&) { now.layers.clear(); });
  remove_layers(gone);
  return copied;
}

// Folds frozen layers when there are many, the newest first, and as long as the next older one is
// not much larger than what is folded already: so a sector is copied a few times at most, however
// often a session is redirected. Layers that survive a boot and layers that do not are never mixed.
void StoreImpl::compact(LiveSession& session) {
  if (session.layers.size() < 2) return;
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
  const bool survives = kept >= top;
  fold_layers(session, first, top - 1,
              survives ? Destination::server_persistent : Destination::server_volatile, nullptr);
}

// Nobody is let in to the image, and nobody else may claim it, while the claim stands.
void StoreImpl::claim_image(LiveSession& session, bool takes) {
  const std::lock_guard lock(mutex_);
  session.takes_image = takes;
}

// Returns the pause in milliseconds.
double StoreImpl::redirect_to_direct(LiveSession& session, const RedirectOptions& options,
                                     const Progress& progress) {
  {
    // Nobody may come to the image while it is decided whether it is free.
    const std::lock_guard connect(connect_mutex_);
    require_may_go_direct(session, options);
    claim_image(session, true);
  }
  double pause = 0;
  try {
    start_direct(session);
    if (!session.begun) {
      session.record.writes = Destination::direct;
    } else {
      if (options.carry && surviving(session.layers) < session.layers.size()) {
        // First into layers that survive: a power cut while the image is half written must find all
        // of it.
        push_layer(session, Destination::server_persistent);
        carry(session, Destination::server_persistent, progress);
      }
      if (session.layers.empty()) {
        session.record.writes = Destination::direct;
        save(session);
        pause = session.disk->change([](Stack&, bool& direct) { direct = true; });
      } else {
        pause = push_layer(session, Destination::direct);
      }
    }
    publish(session);
  } catch (...) {
    if (session.record.writes != Destination::direct) end_direct(session.record.image);
    claim_image(session, false);
    throw;
  }
  claim_image(session, false);
  return pause;
}

RedirectResult StoreImpl::redirect(const std::string& name, Destination destination,
                                   const RedirectOptions& options, const Progress& progress) {
  if (is_at_client(destination))
    throw Error(EINVAL, std::string(to_string(destination)) +
                            " is at the station; redirect a session that plydisk attached there");
  const SessionPtr session = live_session(name);
  if (!session)
    throw Error(EINVAL, "session " + quote(name) +
                            " is at rest; set where its station writes next time with: "
                            "plydisk station set NAME --writes " +
                            to_string(destination));
  const std::lock_guard change(session->change_mutex);
  if (session->ended) throw Error(ESHUTDOWN, "session " + quote(name) + " has ended");

  RedirectResult result;
  result.session = session->record.id;
  result.from = session->record.writes;
  result.to = destination;
  const std::size_t news = session->news.size();
  try {
    redirect_locked(*session, options, progress, result);
  } catch (const Error& error) {
    const Destination now = session->record.writes;
    if (now == result.from) {
      session->news.resize(std::min(news, session->news.size()));
      throw;
    }
    publish(*session);
    throw Error(error.code(), "session " + result.session + " writes to " + to_string(now) +
                                  " now, but not all was done: " + error.what());
  }
  return result;
}

void StoreImpl::redirect_locked(LiveSession& session, const RedirectOptions& options,
                                const Progress& progress, RedirectResult& result) {
  const Destination destination = result.to;
  const bool changes = result.from != destination;
  // What an earlier session left is to be moved, so there must be a place to move it from.
  if (!session.begun && options.carry && !session.layers.empty()) begin_locked(session);
  if (changes) {
    session.news.push_back({std::time(nullptr), "redirected",
                            std::string(to_string(result.from)) + " to " + to_string(destination)});
    if (destination == Destination::direct)
      result.pause_ms = redirect_to_direct(session, options, progress);
    else if (session.begun)
      result.pause_ms = push_layer(session, destination);
    else
      session.record.writes = destination;
    if (result.from == Destination::direct) {
      session.disk->stack().version->backing().flush();
      end_direct(session.record.image);
    }
    publish(session);
  }
  if (session.begun && options.carry && is_persistent(destination)) {
    result.carried = carry(session, destination, progress);
    session.news.push_back(
        {std::time(nullptr), "carried", std::to_string(result.carried) + " bytes"});
    save(session);
  }
  try {
    compact(session);
  } catch (const Error& error) {
    // The redirection itself is done; the layers are merged another time.
    session.news.push_back({std::time(nullptr), "not merged", error.what()});
  }
  result.survives = !session.anonymous && what_is_written_survives(destination, session.layers);
}

}  // namespace plydisk
