// Disks to read, as a session or a version has them, while their stations go on.
//
// A view keeps the layers that it reads open, so it outlives their session and even their files.
// What makes it a moment: the layer that takes a session's writes is never a part of it.
#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

namespace {

bool is_frozen(const Stack& stack) {
  return std::ranges::all_of(stack.layers,
                             [](const auto& layer) { return layer->kind() == LayerKind::data; });
}

}  // namespace

std::shared_ptr<Layer> StoreImpl::find_viewed_layer(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  std::erase_if(views_, [](const auto& view) { return view.expired(); });
  for (const auto& view : views_)
    if (const auto stack = view.lock())
      for (const auto& layer : stack->layers)
        if (layer->identity().uuid == uuid) return layer;
  return nullptr;
}

DiskView StoreImpl::keep_view(Stack stack, bool changes) {
  const auto kept = std::make_shared<const Stack>(std::move(stack));
  const std::lock_guard lock(mutex_);
  views_.push_back(kept);
  return {kept, changes ? 0 : std::time(nullptr)};
}

DiskView StoreImpl::view_version(const std::string& name, unsigned number) {
  const std::lock_guard connect(connect_mutex_);
  const ImageRecord image = catalogue_.image(name);
  const VersionRecord version = catalogue_.version(name, number);
  if (version.state == "open")
    throw Error(EBUSY, "version " + std::to_string(number) + " of image " + quote(name) +
                           " is open, and what its station has written lies in the session " +
                           name + "@" + version.station +
                           ": look at that one, or close the version first, with: plydisk version "
                           "close " +
                           name);
  Stack stack;
  stack.version = load_version(image, number, nullptr);
  return keep_view(std::move(stack), image.backing_dirty);
}

DiskView StoreImpl::view_session(const std::string& name) {
  if (const SessionPtr session = live_session(name)) return view_of(*session);
  const std::lock_guard connect(connect_mutex_);
  const auto record = catalogue_.find_session(session_id(name));
  if (!record || record->ended == 0)
    throw Error(EAGAIN, "session " + quote(name) + " begins or ends just now: try again");
  return view_of(*record);
}

// The layers that a session has left. The caller holds connect_mutex_: so nobody begins on them.
DiskView StoreImpl::view_of(const SessionRecord& rest) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_.contains(rest.id))
      throw Error(EBUSY, "what session " + rest.id + " has written is becoming a version just now");
  }
  const ImageRecord image = catalogue_.image(rest.image);
  const std::vector<LayerRecord> layers = catalogue_.session_layers(rest.id);
  require_all_here(rest, layers);
  Stack stack;
  stack.version = load_version(image, rest.version, nullptr);
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    stack.layers.push_back(open_layer(*layer, stack.version->shared_backing()));
  const bool frozen = is_frozen(stack) && !image.backing_dirty;
  return keep_view(std::move(stack), !frozen);
}

DiskView StoreImpl::view_of(LiveSession& session) {
  const std::lock_guard change(session.change_mutex);
  if (session.ended) throw Error(ESHUTDOWN, "session " + session.record.id + " has ended");
  require_all_here(session.record, session.layers);
  if (!is_station() && (session.on_station || is_at_client(session.record.writes)))
    refuse_remote(session.record);
  if (begin_new_top(session)) compact_if_possible(session);
  return frozen_view(session);
}

// Whether the top layer takes the session's writes, as data. While those stay at the station, no
// layer at the server does.
bool StoreImpl::top_takes_data(const LiveSession& session) const {
  return session.begun && !session.layers.empty() && session.layers.back().kind == "data" &&
         (is_station() || !is_at_client(session.record.writes));
}

// What the session has written until now is not changed any more by what it writes from now on.
// False if it has the top for that already. The caller holds change_mutex.
bool StoreImpl::begin_new_top(LiveSession& session) {
  if (!top_takes_data(session) || session.disk->stack().layers.front()->empty()) return false;
  push_layer(session, session.record.writes);
  return true;
}

void StoreImpl::compact_if_possible(LiveSession& session) {
  try {
    compact(session);
  } catch (const Error& error) {
    log("session " + session.record.id + ": its layers can't be merged: " + error.what());
  }
}

// All but the new top. The caller still holds change_mutex.
DiskView StoreImpl::frozen_view(const LiveSession& session) {
  Stack stack = session.disk->stack();
  const bool changes = !is_frozen(stack) || session.disk->is_direct();
  // Empty until now, and from now on it takes what the view is not to have.
  if (top_takes_data(session)) stack.layers.erase(stack.layers.begin());
  return keep_view(std::move(stack), changes);
}

void StoreImpl::refuse_remote(const SessionRecord& session) {
  throw Error(EREMOTE, "station " + quote(session.station) + " keeps writes of session " +
                           session.id +
                           " itself: look at its disk there, or move them here first with: "
                           "plydisk redirect " +
                           session.id + " server-persistent --carry");
}

// A disk that lacks what its station has is not to be looked at.
void StoreImpl::require_all_here(const SessionRecord& session,
                                 const std::vector<LayerRecord>& layers) const {
  if (is_station()) return;
  if (session.on_station || std::ranges::any_of(layers, [](const LayerRecord& layer) {
        return is_at_client(layer.destination);
      }))
    refuse_remote(session);
}

void StoreImpl::remove_layer(const std::string& uuid) {
  const auto layer = catalogue_.find_layer(uuid);
  if (!layer) throw Error(ENOENT, "there is no layer " + quote(uuid) + "; see: plydisk layer list");
  if (layer->session.empty())
    throw Error(EBUSY, "the layer is a part of image " + quote(layer->image));
  const auto session = catalogue_.find_session(layer->session);
  const bool at_rest = session && session->ended != 0;
  throw Error(
      EBUSY,
      "the layer is in use by session " + layer->session +
          (session && !session->station.empty() ? " of station " + quote(session->station) : "") +
          "; what the session has written goes with: plydisk session end " + layer->session +
          (at_rest ? " --discard" : ""));
}

}  // namespace plydisk
