// What sessions and layers look like from outside.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/frozen_index.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

namespace {

void describe_layers(SessionStatus& status, const std::vector<LayerRecord>& layers) {
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    status.layers.push_back(layer->uuid);
  status.persistent =
      !status.record.station.empty() && what_is_written_survives(status.record.writes, layers);
}

}  // namespace

void StoreImpl::compare_version(SessionStatus& status, const std::vector<LayerRecord>& layers) {
  const SessionRecord& record = status.record;
  if (is_station()) {
    status.next_version = record.version;
    return;
  }
  status.next_version = catalogue_.version_for(record.image, record.station);
  const bool keeps = record.on_station || surviving(layers) > 0;
  status.is_stale = keeps && status.next_version != record.version;
}

SessionStatus StoreImpl::status_of(LiveSession& session) {
  SessionStatus status;
  std::vector<LayerRecord> layers;
  const DiskStatistics statistics = session.disk->statistics();
  status.bytes_read = statistics.bytes_read;
  status.bytes_written = statistics.bytes_written;
  status.requests = statistics.requests;
  status.flushes = statistics.flushes;
  if (const auto version = session.disk->stack().version)
    status.trouble = version->backing().trouble();
  {
    const std::lock_guard lock(mutex_);
    if (status.trouble.empty() && !session.finishing) status.trouble = session.disk->shut_reason();
    status.record = session.seen_record;
    layers = session.seen_layers;
    status.connections = session.connections;
    status.state = session.connections > 0 ? "live" : "waiting";
    if (!session.peer.empty()) status.record.peer = session.peer;
  }
  describe_layers(status, layers);
  compare_version(status, layers);
  return status;
}

SessionStatus StoreImpl::status_of(const SessionRecord& record) {
  SessionStatus status;
  status.record = record;
  status.state = record.ended == 0 ? "waiting" : "at-rest";
  // An attached disk's: it is taken up at once, unless that fails.
  if (is_station() && options_.serve && record.ended == 0)
    status.trouble = "the disk's engine does not serve it yet";
  const std::vector<LayerRecord> layers = catalogue_.session_layers(record.id);
  describe_layers(status, layers);
  compare_version(status, layers);
  return status;
}

std::vector<SessionStatus> StoreImpl::sessions() {
  std::map<std::string, SessionPtr> live;
  std::vector<SessionStatus> all;
  {
    const std::lock_guard lock(mutex_);
    live = live_;
  }
  for (const auto& [id, session] : live) all.push_back(status_of(*session));
  for (const auto& record : catalogue_.sessions())
    if (!live.contains(record.id)) all.push_back(status_of(record));
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::tie(a.record.started, a.record.id) < std::tie(b.record.started, b.record.id);
  });
  return all;
}

SessionStatus StoreImpl::session(const std::string& name) {
  const std::string id = session_id(name);
  SessionPtr live;
  bool is_finishing = false;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = live_.find(id); found != live_.end()) {
      live = found->second;
      is_finishing = live->finishing;
    }
  }
  const auto record = catalogue_.find_session(id);
  // Who hears of the end of a session, which the catalogue tells, finds it over.
  const bool is_over = is_finishing && (!record || record->ended != 0);
  if (live && !is_over) return status_of(*live);
  if (record) return status_of(*record);
  throw Error(ENOENT, "there is no session " + quote(name));
}

void StoreImpl::look_for_servers() {
  std::vector<SessionPtr> live;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_) live.push_back(session);
  }
  const ThrowIfAway throw_if_away;
  for (const auto& session : live) {
    const auto version = session->disk->stack().version;
    std::array<std::byte, sector_size> sector{};
    try {
      if (version) version->backing().read(sector.data(), sector.size(), 0);
    } catch (const Error&) {
      // That is what status_of() tells.
    }
  }
}

std::vector<SessionName> StoreImpl::session_names() {
  std::map<std::string, SessionName> names;
  const auto add = [&](const SessionRecord& record, const std::string& state) {
    names[record.id] = {record.id, record.station, record.image,
                        state,     record.started, std::max(record.started, record.ended)};
  };
  for (const auto& record : catalogue_.sessions())
    add(record, record.ended == 0 ? "waiting" : "at-rest");
  {
    const std::lock_guard lock(mutex_);
    // As in session(): what is ending is as the catalogue says.
    for (const auto& [id, session] : live_)
      if (!session->finishing)
        add(session->seen_record, session->connections > 0 ? "live" : "waiting");
  }
  for (const auto& [id, at] : catalogue_.session_changes())
    if (const auto name = names.find(id); name != names.end())
      name->second.changed = std::max(name->second.changed, at);
  std::vector<SessionName> all;
  for (auto& [id, name] : names) all.push_back(std::move(name));
  return all;
}

// The layer, if a session of this process has it open.
std::shared_ptr<Layer> StoreImpl::find_open_layer(const std::string& uuid) {
  std::vector<SessionPtr> live;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_) live.push_back(session);
  }
  for (const auto& session : live)
    for (const auto& layer : session->disk->stack().layers)
      if (layer->identity().uuid == uuid) return layer;
  return find_viewed_layer(uuid);
}

// Lets fn look at a session's layer that this process has not open; nobody begins on it meanwhile.
void StoreImpl::look_at_layer(const LayerRecord& record, const std::function<void(Layer&)>& fn) {
  const std::lock_guard connect(connect_mutex_);
  const auto open = find_open_layer(record.uuid);
  fn(open ? *open : *open_layer(record, nullptr));
}

LayerStatus StoreImpl::layer(const std::string& uuid) {
  const auto record = catalogue_.find_layer(uuid);
  if (!record)
    throw Error(ENOENT, "there is no layer " + quote(uuid) + "; see: plydisk layer list");
  LayerStatus status;
  status.record = *record;
  status.folder = layer_folder(uuid);
  status.allocated = allocated_in(status.folder);
  const auto count = [&](std::uint64_t, const ChunkState&) { ++status.chunks; };
  if (const auto open = find_open_layer(uuid)) {
    open->for_each(count);
    return status;
  }
  try {
    if (record->session.empty())
      load_frozen_index(layer_folder(uuid) / SectorIndex::file_name,
                        {record->uuid, record->parent, record->size},
                        [&](const ChunkChange&) { ++status.chunks; });
    else
      look_at_layer(*record, [&](Layer& layer) { layer.for_each(count); });
  } catch (const Error&) {
    status.record.state = "damaged";
  }
  return status;
}

std::vector<LayerStatus> StoreImpl::layers() {
  std::vector<LayerStatus> all;
  for (const auto& record : catalogue_.layers()) {
    try {
      all.push_back(layer(record.uuid));
    } catch (const Error& error) {
      if (error.code() != ENOENT) throw;  // ENOENT: its session has ended meanwhile
    }
  }
  return all;
}

std::vector<std::string> StoreImpl::check_layer(const std::string& uuid) {
  const auto record = catalogue_.find_layer(uuid);
  if (!record)
    throw Error(ENOENT, "there is no layer " + quote(uuid) + "; see: plydisk layer list");
  if (const auto open = find_open_layer(uuid)) return open->check();
  std::vector<std::string> faults;
  try {
    if (!record->session.empty()) {
      look_at_layer(*record, [&](Layer& layer) { faults = layer.check(); });
      return faults;
    }
    faults = check_frozen_index(layer_folder(uuid) / SectorIndex::file_name,
                                {record->uuid, record->parent, record->size});
    if (!faults.empty()) return faults;
    if (File::open(layer_folder(uuid) / Layer::data_name, O_RDONLY).size() < record->size)
      return {"the data file was truncated"};
  } catch (const Error& error) {
    return {error.what()};
  }
  return {};
}

}  // namespace plydisk
