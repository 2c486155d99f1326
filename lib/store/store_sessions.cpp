// Sessions: their layers, their first write, their end.
#include <fcntl.h>

#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"
#include "stack/chunk_hashes.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

std::size_t surviving(const std::vector<LayerRecord>& layers) {
  const auto is_volatile = [](const LayerRecord& layer) {
    return !is_persistent(layer.destination);
  };
  return static_cast<std::size_t>(std::find_if(layers.begin(), layers.end(), is_volatile) -
                                  layers.begin());
}

bool what_is_written_survives(Destination writes, const std::vector<LayerRecord>& layers) {
  return writes == Destination::direct ||
         (is_persistent(writes) && surviving(layers) == layers.size());
}

namespace {

LayerIdentity identity_of(const LayerRecord& record) {
  return {record.uuid, record.parent, record.size};
}

}  // namespace

std::filesystem::path StoreImpl::layer_folder(const std::string& uuid) const {
  if (!options_.memory.empty())
    if (auto in_memory = options_.memory / uuid; std::filesystem::exists(in_memory))
      return in_memory;
  return directory_ / "layers" / uuid;
}

std::filesystem::path StoreImpl::folder_for(const LayerRecord& record) const {
  // What says that writes went on to the server is small, and the disk may be full.
  const bool in_memory = is_station() && !options_.memory.empty() &&
                         (record.destination == Destination::client_ram ||
                          (record.kind == "pass" && !is_persistent(record.destination)));
  return (in_memory ? options_.memory : directory_ / "layers") / record.uuid;
}

// How many bytes the layer's files may take: what the plan grants its destination, less what other
// layers of the session have of that. 0: no limit.
std::uint64_t StoreImpl::limit_for(const LiveSession& session, const LayerRecord& record) const {
  const auto* const step = session.record.plan.find(record.destination);
  if (step == nullptr || !step->limit) return 0;
  std::uint64_t taken = 0;
  for (const auto& layer : session.layers)
    if (layer.destination == record.destination && layer.uuid != record.uuid)
      taken += allocated_in(layer_folder(layer.uuid));
  return *step->limit > taken ? *step->limit - taken : 1;
}

LayerOptions StoreImpl::layer_options(const LayerRecord& record,
                                      const std::shared_ptr<Backing>& backing) const {
  LayerOptions options;
  options.kind = record.kind == "pass" ? LayerKind::pass : LayerKind::data;
  options.durability =
      is_persistent(record.destination) ? Durability::durable : Durability::process;
  options.boot_id = boot_id_;
  // The kernel sends again what an engine has not answered when it is killed.
  options.may_tear = record.destination == Destination::client_ram;
  // One thread flushes for others, which wait for it.
  options.sync_backing = [backing] {
    const ThrowIfAway no(false);
    backing->flush();
  };
  return options;
}

std::shared_ptr<Layer> StoreImpl::open_layer(const LayerRecord& record,
                                             const std::shared_ptr<Backing>& backing,
                                             std::uint64_t limit) {
  LayerOptions options = layer_options(record, backing);
  options.limit = limit;
  // Nobody opens a layer twice.
  if (auto viewed = find_viewed_layer(record.uuid)) {
    viewed->set_limit(limit);
    return viewed;
  }
  return Layer::open(layer_folder(record.uuid), identity_of(record), options);
}

std::shared_ptr<Layer> StoreImpl::create_layer(const LiveSession& session,
                                               const LayerRecord& record) {
  LayerOptions options = layer_options(record, session.disk->stack().version->shared_backing());
  options.limit = limit_for(session, record);
  catalogue_.announce_layer(record.uuid);
  return Layer::create(folder_for(record), identity_of(record), options);
}

LayerRecord StoreImpl::new_layer(const LiveSession& session, Destination destination) const {
  LayerRecord record;
  record.uuid = random_uuid();
  record.image = session.record.image;
  record.session = session.record.id;
  record.parent = session.layers.empty() ? "" : session.layers.back().uuid;
  record.destination = destination;
  record.kind = passes(destination) ? "pass" : "data";
  if (is_station() && passes(destination)) record.passed = passed_by(session, destination);
  record.state = "writing";
  record.size = session.disk->size();
  record.created = std::time(nullptr);
  return record;
}

// What a station's session passes on to its server.
Passed StoreImpl::passed_by(const LiveSession& session, Destination destination) {
  Passed passed;
  (destination == Destination::direct ? passed.to_image : passed.to_layers) = session.record.writer;
  return passed;
}

void StoreImpl::remove_layers(const std::vector<LayerRecord>& layers) noexcept {
  try {
    for (const auto& layer : layers) {
      remove_tree(layer_folder(layer.uuid));
      const std::lock_guard lock(mutex_);
      removed_.push_back(layer.uuid);
    }
  } catch (const std::exception&) {
    // The catalogue knows that they are doomed, so the next start removes them.
  }
}

// Lets `save`, once or more, take the layers out of the catalogue, then removes them. When the disk
// is full, perhaps of them, their data goes first; and where there is none, the end of a session is
// still what others wait for that make room.
void StoreImpl::drop_layers(const std::vector<LayerRecord>& layers,
                            const std::function<void()>& save) {
  try {
    save();
  } catch (const Error& error) {
    if (!is_disk_full(error.code())) throw;
    for (const auto& layer : layers)
      File::open(layer_folder(layer.uuid) / Layer::data_name, O_RDWR).truncate(0);
    with_reserve(save);
  }
  remove_layers(layers);
}

void StoreImpl::save(LiveSession& session) {
  for (std::size_t i = 0; i < session.layers.size(); ++i) {
    session.layers[i].position = static_cast<int>(i);
    session.layers[i].state = i + 1 < session.layers.size() ? "frozen" : "writing";
  }
  {
    const std::lock_guard lock(mutex_);
    session.record.peer = session.peer.empty() ? session.record.peer : session.peer;
  }
  // What goes to a station's own destinations is not written here, nor what is dropped at the end.
  const Destination writes = session.record.writes;
  const bool has_place = writes == Destination::direct || !session.layers.empty();
  if (!is_station() && !session.ended && !is_at_client(writes) && has_place &&
      what_is_written_survives(writes, session.layers)) {
    session.record.writer = session.writer;
    session.record.on_station |= session.on_station;
  }
  catalogue_.save_session(session.record, session.layers, session.news);
  session.news.clear();
  session.saved = session.recorded = true;
  publish(session);
}

void StoreImpl::publish(LiveSession& session) {
  const std::lock_guard lock(mutex_);
  session.claimed = session.record.writes;
  session.seen_record = session.record;
  session.seen_layers = session.layers;
  session.seen_writer = session.writer;
}

// The first write of a session, or its return after a restart of the server.
void StoreImpl::begin_writing(LiveSession& session) {
  const std::lock_guard change(session.change_mutex);
  if (session.ended) throw Error(ESHUTDOWN, "the session has ended");
  if (!session.begun) begin_locked(session);
}

void StoreImpl::begin_locked(LiveSession& session) {
  const Destination writes = session.record.writes;
  const bool direct = passes(writes);
  if (direct) {
    start_direct(session);
    note_image_writer(session);
  }
  if (!is_station() && is_at_client(writes) && !session.layers.empty()) {
    // Nothing comes until the station says so, and then to a layer of its own.
    save(session);
    session.disk->change([](Stack&, bool& is_direct) { is_direct = false; });
  } else if (session.layers.empty() && direct) {
    save(session);
    session.disk->change([](Stack&, bool& is_direct) { is_direct = true; });
  } else if (goes_on_in_top(session)) {
    save(session);
    session.disk->change([&](Stack&, bool& is_direct) { is_direct = direct; });
  } else {
    push_layer(session, writes);
  }
  session.begun = true;
}

// Whether the layer at the top, perhaps of an earlier session, takes this one's writes.
bool StoreImpl::goes_on_in_top(const LiveSession& session) {
  if (session.layers.empty()) return false;
  const LayerRecord& top = session.layers.back();
  if (top.destination != session.record.writes || top.kind == "mixed") return false;
  // Somebody reads it as it is now.
  if (find_viewed_layer(top.uuid)) return false;
  // What an earlier session passed on is known to be there; what this one does is not yet.
  return !is_station() || top.kind != "pass" || top.passed == passed_by(session, top.destination);
}

void StoreImpl::start_direct(LiveSession& session) {
  const std::string& image = session.record.image;
  try {
    // Durable before the backing is touched: after a crash its new time and size are no surprise.
    if (!catalogue_.image(image).backing_dirty)
      catalogue_.change_image(image, [](ImageRecord& record) { record.backing_dirty = true; });
    ChunkHashes::remove(hashes_folder(catalogue_.image(image)));
    session.disk->stack().version->backing().open_for_writing();
  } catch (...) {
    end_direct(image);
    throw;
  }
}

// Before anything is written to the image itself: a station's own layers elsewhere may lie on it.
void StoreImpl::note_image_writer(const LiveSession& session) {
  if (is_station() || catalogue_.image(session.record.image).writer == session.writer) return;
  catalogue_.change_image(session.record.image,
                          [&](ImageRecord& image) { image.writer = session.writer; });
}

void StoreImpl::end_direct(const std::string& image_name) noexcept {
  try {
    std::shared_ptr<Backing> backing;
    {
      const std::lock_guard lock(mutex_);
      backing = backings_[image_name].lock();
    }
    if (backing) backing->close_for_writing();
    catalogue_.change_image(image_name, [&](ImageRecord& image) {
      if (!image.backing_dirty) return;
      // Those of who has hashed it meanwhile.
      ChunkHashes::remove(hashes_folder(image));
      record_backing(image);
    });
  } catch (const std::exception&) {
    // backing_dirty stays set, and so the backing's time is not held against it.
  }
}

// Whether what was written to the backing without a layer is to survive the session. What lies
// below pass layers is flushed with them, and a server that is away is not waited for without need.
bool StoreImpl::must_flush_backing(const LiveSession& session) const {
  if (!is_station()) return passes(session.record.writes);
  if (session.layers.empty()) return is_persistent(session.record.writes);
  // Volatile writes without a layer get one as soon as others come on top.
  return session.disk->was_direct() &&
         session.layers.front().destination != Destination::server_volatile;
}

void StoreImpl::finish(const SessionPtr& session, End when, bool discard,
                       const std::string& reason) {
  const std::lock_guard change(session->change_mutex);
  if (session->ended) return;
  const auto wait = grace(session->record);
  {
    const std::lock_guard lock(mutex_);
    // Its station may have been back since this was decided.
    if (when == End::if_idle &&
        (session->connections > 0 || LiveSession::Clock::now() - session->idle_since < wait))
      return;
    if (when == End::if_left && is_in_use(*session)) return;
    session->finishing = true;
  }
  session->ended = true;
  use_reserve_if_full();
  session->disk->shut(reason);
  const bool was_direct = passes(session->record.writes);
  std::vector<std::shared_ptr<Layer>> opened = session->disk->stack().layers;  // newest first
  const std::size_t kept = discard ? 0 : surviving(session->layers);
  try {
    for (std::size_t i = 0; i < kept; ++i) opened[opened.size() - 1 - i]->settle();
    if (must_flush_backing(*session)) session->disk->stack().version->backing().flush();
  } catch (const std::exception&) {
    // The layer has stopped; what it could not save, its map has until the machine goes down.
  }
  opened.clear();
  // At a station the connection to the server goes, too: it was this session's.
  session->disk->change([this](Stack& stack, bool&) {
    if (is_station())
      stack = {};
    else
      stack.layers.clear();
  });

  std::vector<LayerRecord> doomed(session->layers.begin() + static_cast<std::ptrdiff_t>(kept),
                                  session->layers.end());
  session->layers.resize(kept);
  const bool stays = kept > 0 && (session->begun || session->recorded);
  if (stays) {
    session->record.ended = std::time(nullptr);
    session->news.push_back({session->record.ended, "ended", reason});
  }
  std::exception_ptr failure;
  try {
    drop_layers(doomed, [&] {
      if (kept == 0) {
        if (session->saved)
          catalogue_.remove_session(session->record.id);
        else
          tell(*session, "removed");
      } else if (stays) {
        save(*session);
      }
    });
  } catch (const std::exception&) {
    failure = std::current_exception();
  }
  remove_unused_versions();
  if (was_direct) end_direct(session->record.image);
  // Else it would come back to the server, and begin a session there.
  if (is_station()) close_versions([](OpenVersion&) { return true; });
  end_at_server(session->record.id);
  {
    const std::lock_guard lock(mutex_);
    live_.erase(session->record.id);
    // The catalogue still has it as it was: it is to be ended as soon as that can be written.
    if (failure) waiting_[session->record.id] = LiveSession::Clock::time_point::min();
  }
  finished_.notify_all();
  if (failure) std::rethrow_exception(failure);
}

// At a station whose session is over.
void StoreImpl::end_at_server(const std::string& id) {
  if (!is_station() || !options_.upstream) return;
  agreement_.set(std::nullopt);
  agreement_.expect(std::nullopt);
  try {
    options_.upstream->end_session();
  } catch (const Error& error) {
    // ENOENT: it never began there.
    if (error.code() != ENOENT)
      log("session " + id + " has ended, but not at the server: " + error.what());
  }
}

// Ends a session that no one serves in this process.
void StoreImpl::finish_record(SessionRecord record, bool discard) {
  std::vector<LayerRecord> layers = catalogue_.session_layers(record.id);
  // Nobody can come back to a session that has no name.
  const std::size_t kept = discard || record.station.empty() ? 0 : surviving(layers);
  const std::vector<LayerRecord> doomed(layers.begin() + static_cast<std::ptrdiff_t>(kept),
                                        layers.end());
  layers.resize(kept);
  if (kept > 0) record.ended = std::time(nullptr);
  drop_layers(doomed, [&] {
    if (kept == 0)
      catalogue_.remove_session(record.id);
    else
      catalogue_.save_session(record, layers, {{record.ended, "ended", ""}});
  });
  remove_unused_versions();
  if (passes(record.writes)) end_direct(record.image);
}

// The caller holds connect_mutex_.
void StoreImpl::require_no_live_session(const std::string& station) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, session] : live_)
    if (session->record.station == station)
      throw Error(EBUSY, "station " + quote(station) +
                             " has a live session; end it first with: "
                             "plydisk session end " +
                             id);
}

void StoreImpl::remove_station(const std::string& name) {
  const std::lock_guard connect(connect_mutex_);
  require_no_live_session(name);
  catalogue_.remove_station(name);
}

StationRecord StoreImpl::rename_station(const std::string& name, const std::string& new_name) {
  const std::lock_guard connect(connect_mutex_);
  for (const std::string& station : {name, new_name}) require_no_live_session(station);
  return catalogue_.rename_station(name, new_name);
}

// Those who follow the store's events.
void StoreImpl::tell(const LiveSession& session, const char* event) {
  const std::string& station = session.record.station;
  catalogue_.events().add(Topic::sessions, event, session.record.id,
                          session.record.image + (station.empty() ? "" : "@" + station));
}

// The id that a user's words mean: an id, a station, or IMAGE@STATION.
std::string StoreImpl::session_id(const std::string& name) {
  if (catalogue_.find_session(name)) return name;
  std::vector<SessionRecord> all = catalogue_.sessions();
  {
    const std::lock_guard lock(mutex_);
    if (live_.contains(name)) return name;
    for (const auto& entry : live_) {
      const auto is_it = [&](const SessionRecord& known) { return known.id == entry.first; };
      if (std::none_of(all.begin(), all.end(), is_it)) all.push_back(entry.second->seen_record);
    }
  }
  std::vector<std::string> found;
  for (const auto& session : all) {
    if (session.station.empty()) continue;
    if (session.station == name || session.image + "@" + session.station == name)
      found.push_back(session.id);
  }
  if (found.size() == 1) return found.front();
  if (found.empty())
    throw Error(ENOENT, "there is no session " + quote(name) + "; see: plydisk session list");
  throw Error(EINVAL,
              "station " + quote(name) + " has several sessions; say which one: IMAGE@STATION");
}

StoreImpl::SessionPtr StoreImpl::live_session(const std::string& name) {
  const std::string id = session_id(name);
  const std::lock_guard connect(connect_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = live_.find(id); found != live_.end()) return found->second;
  }
  const auto record = catalogue_.find_session(id);
  if (!record) throw Error(ENOENT, "there is no session " + quote(name));
  if (record->ended != 0) return nullptr;
  return resume(*record);
}

void StoreImpl::end_session(const std::string& name, bool discard) {
  std::string id;
  try {
    id = session_id(name);
  } catch (const Error&) {
    end_at_server(name);  // which may have one in which nothing was written
    throw;
  }
  std::unique_lock connect(connect_mutex_);
  SessionPtr session;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = live_.find(id); found != live_.end()) session = found->second;
  }
  if (session) {
    connect.unlock();
    return finish(session, End::now, discard, "the administrator ended the session");
  }
  // Nobody can resume or begin it now.
  const auto record = catalogue_.find_session(id);
  if (record && record->ended == 0) end_at_server(id);
  if (!record) throw Error(ENOENT, "there is no session " + quote(name));
  if (record->ended != 0 && !discard)
    throw Error(EINVAL, "session " + id +
                            " is not live; its persistent layers can be discarded with: "
                            "plydisk session end " +
                            id + " --discard");
  finish_record(*record, discard);
  const std::lock_guard lock(mutex_);
  waiting_.erase(id);
}

}  // namespace plydisk
