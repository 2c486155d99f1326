// The door for stations: to which session they come.
#include <algorithm>
#include <ctime>
#include <set>

#include "base/error.hpp"
#include "base/uuid.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

class StoreImpl::ConnectionImpl final : public Store::Connection {
 public:
  ConnectionImpl(StoreImpl& store, SessionPtr session, bool is_firmware, bool read_only)
      : store_(store),
        session_(std::move(session)),
        is_firmware_(is_firmware),
        gate_(is_firmware ? session_->firmware_gate : session_->gate),
        read_only_(read_only) {}
  ~ConnectionImpl() override { store_.leave(session_, is_firmware_); }
  Disk& disk() override { return *session_->disk; }
  const Gate* gate() const override { return gate_.get(); }
  // Each connection without a name has a disk of its own: another would see nothing of its writes.
  bool multi_conn() const override { return !session_->anonymous; }
  bool read_only() const override { return read_only_; }
  const std::string& image() const override { return session_->record.image; }

 private:
  StoreImpl& store_;
  const SessionPtr session_;
  const bool is_firmware_;
  const std::shared_ptr<Gate> gate_;
  const bool read_only_;
};

std::string StoreImpl::image_for(const ExportName& name,
                                 const std::optional<StationRecord>& station) {
  if (station && station->image) {
    if (!name.image.empty() && name.image != *station->image)
      throw Error(EACCES, "station " + quote(station->name) + " uses image " +
                              quote(*station->image) + ", not " + quote(name.image));
    return *station->image;
  }
  if (!name.image.empty()) return name.image;
  const auto images = catalogue_.images();
  if (images.size() != 1)
    throw Error(ENOENT, "the export name must say which image: IMAGE[:VERSION][@STATION]");
  return images.front().name;
}

// `direct` and other sessions exclude each other on an image, and so do sessions whose pass layers
// say that the image holds sectors which belong with their other layers: be it that layers are
// being carried into the image, or were when the power went, or that --force left them where they
// are. Throws EBUSY; `except` is the id of
// the session that asks. The caller holds connect_mutex_.
void StoreImpl::require_image_free(const ImageRecord& image, Destination writes,
                                   const std::string& except) {
  if (is_station()) return;  // the server decides
  const auto who = [](const std::string& id, const std::string& station) {
    return station.empty() ? "session " + id : "station " + quote(station);
  };
  const auto check = [&](const std::string& id, const std::string& station, bool is_direct,
                         bool at_rest, const std::vector<LayerRecord>& layers) {
    if (id == except) return;
    if (is_direct && !at_rest)
      throw Error(EBUSY, "image " + quote(image.name) + " is written directly by " +
                             who(id, station) + ", who has it alone");
    if (std::ranges::any_of(layers, [](const auto& layer) { return layer.kind != "data"; }))
      throw Error(EBUSY, "image " + quote(image.name) + " holds direct writes of " +
                             who(id, station) +
                             " that belong with layers of its own; let it come back and move them "
                             "into the image with: plydisk redirect " +
                             id +
                             " direct --carry; or discard them, and leave the image as it is, "
                             "with: plydisk session end " +
                             id + " --discard");
    if (writes != Destination::direct) return;
    if (at_rest)
      throw Error(EBUSY, "persistent layers of " + who(id, station) + " lie on image " +
                             quote(image.name) +
                             "; direct writes would break them: discard them first with: "
                             "plydisk session end " +
                             id + " --discard");
    throw Error(EBUSY, "image " + quote(image.name) + " is in use by " + who(id, station) +
                           "; direct writes need it alone");
  };
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      if (session->record.image == image.name)
        check(id, session->record.station,
              session->takes_image || session->claimed == Destination::direct, false,
              session->seen_layers);
  }
  for (const auto& session : catalogue_.sessions()) {
    if (session.image != image.name) continue;
    {
      const std::lock_guard lock(mutex_);
      if (live_.contains(session.id)) continue;
    }
    check(session.id, session.station, session.writes == Destination::direct, session.ended != 0,
          catalogue_.session_layers(session.id));
  }
}

StoreImpl::SessionPtr StoreImpl::find_live(const std::string& station, const std::string& image) {
  for (const auto& [id, session] : live_)
    if (!session->anonymous && session->record.station == station && session->record.image == image)
      return session;
  return nullptr;
}

// The image of the station's session that goes on, whatever its settings say by now: those are for
// the next one, and a system must not find another disk under it after a reconnection. `named`: the
// image that the client asks for, or empty; `wanted`: the station's, for one that has several.
std::optional<std::string> StoreImpl::image_in_use(const std::string& station,
                                                   const std::optional<std::string>& wanted,
                                                   const std::string& named) {
  std::set<std::string> images;
  for (const auto& record : catalogue_.sessions())
    if (record.station == station && record.ended == 0 && !is_over(record))
      images.insert(record.image);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      if (!session->anonymous && session->record.station == station)
        images.insert(session->record.image);
  }
  if (!named.empty()) return images.contains(named) ? std::optional(named) : std::nullopt;
  if (images.size() == 1) return *images.begin();
  if (wanted && images.contains(*wanted)) return wanted;
  return std::nullopt;
}

std::string StoreImpl::new_session_id() {
  while (true) {
    const std::string id = random_hex(8);
    const std::lock_guard lock(mutex_);
    if (!live_.contains(id) && !catalogue_.find_session(id)) return id;
  }
}

StoreImpl::SessionPtr StoreImpl::make_live(SessionRecord record, std::vector<LayerRecord> layers,
                                           bool goes_on) {
  auto session = std::make_shared<LiveSession>();
  session->anonymous = record.station.empty();
  session->record = std::move(record);
  session->layers = std::move(layers);
  Stack stack;
  stack.version = load_version(catalogue_.image(session->record.image), session->record.version,
                               goes_on ? &session->record : nullptr);
  for (auto layer = session->layers.rbegin(); layer != session->layers.rend(); ++layer)
    stack.layers.push_back(
        open_layer(*layer, stack.version->shared_backing(), limit_for(*session, *layer)));
  // The session outlives its disk, which is a part of it.
  session->disk = std::make_unique<Disk>(
      std::move(stack), false, false, [this, raw = session.get()] { begin_writing(*raw); },
      [this, raw = session.get()](const Layer* full) { return move_on(*raw, full); });
  if (goes_on && session->record.has_passed) session->disk->note_was_direct();
  publish(*session);
  return session;
}

StoreImpl::SessionPtr StoreImpl::resume(const SessionRecord& record) {
  // It alone can talk to the server about the session.
  if (is_station() && !options_.serve)
    throw Error(EAGAIN,
                "the process that serves this disk does not run now, and nothing was changed; "
                "if it is attached, it is started anew: try again");
  std::vector<LayerRecord> layers = catalogue_.session_layers(record.id);
  // Before there is a connection, which may come at any time.
  if (is_station()) recall_agreement(record, layers);
  auto session = make_live(record, std::move(layers), true);
  session->saved = true;
  session->writer = record.writer.empty() ? random_hex(8) : record.writer;
  session->is_attached = !record.token.empty();
  session->is_taken = record.peer != firmware_peer().address || session->is_attached;
  if (is_station()) {
    try {
      // Else it is done when the server is back, if it will have the session.
      if (session->disk->stack().version->backing().trouble().empty()) agreement_.restore();
    } catch (const Error& error) {
      if (error.code() != ESTALE) throw;
      // It is served, so that all requests fail, rather than wait for an engine.
      session->disk->shut(error.what());
    }
  }
  session->news.push_back({std::time(nullptr), "resumed", ""});
  // What a station writes itself needs no layer here. Nobody else has the session yet, so nobody
  // holds its change_mutex, which is never waited for while stations are let in.
  if (is_station() || !is_at_client(record.writes) || !session->layers.empty())
    begin_locked(*session);
  const std::lock_guard lock(mutex_);
  waiting_.erase(record.id);
  live_[record.id] = session;
  return session;
}

StoreImpl::SessionPtr StoreImpl::start(const ImageRecord& image, unsigned version,
                                       const std::string& station, const WritePlan& plan,
                                       const ExportName& name, const Peer& peer) {
  SessionRecord record;
  record.id = new_session_id();
  std::vector<LayerRecord> layers;
  // Persistent layers that an earlier session left are this one's, and it keeps their id and
  // version.
  std::optional<SessionRecord> rest;
  if (!station.empty()) {
    rest = catalogue_.session_of(station, image.name);
    if (rest) {
      if (name.version && *name.version != rest->version)
        throw Error(EBUSY, "the persistent layers of station " + quote(station) +
                               " lie on version " + std::to_string(rest->version) + " of image " +
                               quote(image.name) + "; discard them with: plydisk session end " +
                               rest->id + " --discard");
      record.id = rest->id;
      version = rest->version;
      layers = catalogue_.session_layers(rest->id);
      record.writer = rest->writer;
      record.on_station = rest->on_station;
      if (rest->on_station && !name.session)
        throw Error(EBUSY, "what is kept for station " + quote(station) +
                               " lies on layers at the station itself, which a plain client does "
                               "not have; attach it there, or drop what is kept with: plydisk "
                               "session end " +
                               rest->id + " --discard");
    }
  }
  {
    const std::lock_guard lock(mutex_);
    if (closing_.contains(record.id))
      throw Error(EBUSY, "what station " + quote(station) +
                             " has written is becoming a version just now: try again");
  }
  record.station = station;
  record.image = image.name;
  record.version = version;
  record.token = name.session.value_or("");
  record.peer = peer.address;
  record.boot = boot_id_;
  const Destination writes = plan.first();
  if (is_station()) require_possible(writes);
  record.writes = writes;
  record.plan = plan;
  record.started = std::time(nullptr);
  require_image_free(image, writes, record.id);
  if (writes == Destination::direct && !layers.empty() && !is_station())
    throw Error(EBUSY, "station " + quote(station) + " has persistent layers on image " +
                           quote(image.name) +
                           ", which the image would lack; let it write to server-persistent and "
                           "move them with: plydisk redirect " +
                           image.name + "@" + station + " direct --carry");
  const std::string writer = random_hex(8);
  if (is_station()) {
    record.writer = writer;
    catalogue_.note_passed(false);
    end_leftover();
  }
  auto session = make_live(record, std::move(layers), false);
  session->saved = rest.has_value();
  session->writer = writer;
  if (writes == Destination::direct && session->disk->stack().version->has_layers())
    throw Error(EINVAL, "version " + std::to_string(version) + " of image " + quote(image.name) +
                            " has frozen layers, so there is nothing to write to directly");
  if (writes == Destination::direct) require_no_version_above(image);
  if (is_station()) {
    take_foundation(*session, rest);
    tell_upstream(*session, writes);
  }
  // Now, so that what is wrong with the backing is told here, and not by the first write.
  if (passes(writes)) start_direct(*session);
  session->news.push_back({record.started, "started", std::string(to_string(writes))});
  // An engine that starts anew goes on with it, also while the server is away.
  is_station() ? save(*session) : publish(*session);
  tell(*session, "began");
  const std::lock_guard lock(mutex_);
  live_[record.id] = session;
  return session;
}

// False if the session has begun to end meanwhile. A station that comes back after it has lost its
// connections shuts them out: their late writes would undo those that it makes now.
bool StoreImpl::join(const SessionPtr& session, const ExportName& name, const Peer& peer) {
  const std::lock_guard lock(mutex_);
  if (session->finishing) return false;
  if (is_newer(*session, name)) {
    session->epoch = *name.epoch;
    session->gate->shut();
    session->gate = std::make_shared<Gate>();
  } else {
    if (name.epoch && *name.epoch < session->epoch && session->record.token == name.session)
      throw Error(ESTALE, "station " + quote(session->record.station) +
                              " has made newer connections meanwhile");
    require_same_peer(*session, peer);
  }
  session->peer = peer.address;
  if (++session->connections == 1) tell(*session, "connected");
  if (peer.is_firmware) {
    ++session->of_firmware;
  } else {
    session->is_taken = true;
    session->firmware_gate->shut();
  }
  return true;
}

// A station that began its session as a plain client, as firmware does, goes on in it as one with a
// token.
void StoreImpl::take_token(LiveSession& session, const std::string& token) {
  const std::lock_guard change(session.change_mutex);
  {
    const std::lock_guard connect(connect_mutex_);
    const std::lock_guard lock(mutex_);
    if (session.ended || !session.record.token.empty()) return;
    session.record.token = token;
  }
  session.begun ? save(session) : publish(session);
}

void StoreImpl::leave(const SessionPtr& session, bool is_firmware) noexcept {
  {
    const std::lock_guard lock(mutex_);
    session->idle_since = LiveSession::Clock::now();
    if (is_firmware) --session->of_firmware;
    if (--session->connections > 0) return;
    tell(*session, "disconnected");
    if (!session->anonymous) return;
  }
  try {
    // Nobody can come back to a session that has no name.
    finish(session, End::now, true, "the session has ended");
  } catch (const std::exception&) {
    // What is left on disk goes when the store is opened next.
  }
}

// A station's store has one disk, by whatever name it is asked for.
ExportName StoreImpl::full_name(ExportName name) {
  const auto stations = catalogue_.stations();
  if (is_station() && stations.size() == 1) name.station = stations.front().name;
  return name;
}

StoreImpl::Arrival StoreImpl::receive(const ExportName& name, const Peer& peer) {
  const auto station = find_station(name, peer);
  require_allowed(name, station, peer);
  const std::string station_name = station ? station->name : name.station.value_or("");
  std::optional<std::string> image_name;
  if (!station_name.empty())
    image_name = image_in_use(station_name, station ? station->image : std::nullopt, name.image);
  const ImageRecord image = catalogue_.image(image_name ? *image_name : image_for(name, station));
  WritePlan plan(catalogue_.parameter("default-writes"));
  if (image.writes) plan = *image.writes;
  if (station && station->writes) plan = *station->writes;
  // What is written to a new version is to survive until it is closed.
  if (version_open_for(image.name, station_name)) plan = Destination::server_persistent;
  return {station, station_name, image, plan};
}

Greeting StoreImpl::greet(const ExportName& name, const Peer& peer,
                          const Introduction& introduction) {
  const std::lock_guard connect(connect_mutex_);
  const auto [record, station, image, plan] = receive(name, peer);
  if (record) require_secret(*record, name, introduction);
  if (introduction.writes) {
    require_may_choose(station, plan, *introduction.writes);
    if (const auto open = version_open_for(image.name, station);
        open && introduction.writes->first() != Destination::server_persistent)
      throw Error(EBUSY, "station " + quote(station) + " writes version " +
                             std::to_string(open->number) + " of image " + quote(image.name) +
                             ", so its writes go to server-persistent: attach without --writes");
  }
  const unsigned version = catalogue_.version_for(image.name, station);
  Greeting greeting{image, version, plan, station, {image.writer, "", ""}, false};
  std::string own;
  if (!station.empty()) {
    // Layers that wait for the station lie on the version on which they were made.
    if (const auto session = catalogue_.session_of(station, image.name)) {
      own = session->id;
      greeting.version = session->version;
      greeting.on_station = session->on_station;
      greeting.foundation = foundation_of(*session, catalogue_.session_layers(own));
    }
    const std::lock_guard lock(mutex_);
    if (const auto session = find_live(station, image.name)) own = session->record.id;
  }
  check_backing(image);
  const WritePlan& writes = introduction.writes ? *introduction.writes : plan;
  require_image_free(image, writes.first(), own);
  if (name.version) greeting.version = *name.version;
  require_may_use(image.name, greeting.version, station);
  return greeting;
}

bool StoreImpl::has_ended(const ExportName& name, const std::string& uuid) {
  const std::lock_guard connect(connect_mutex_);
  const auto image = catalogue_.find_image(name.image);
  const std::string station = name.station.value_or("");
  if (!image || image->uuid != uuid || !name.session) return false;
  {
    const std::lock_guard lock(mutex_);
    const auto session = find_live(station, name.image);
    if (session && session->record.token == *name.session) return false;
  }
  const auto record = catalogue_.session_of(station, name.image);
  return !record || record->ended != 0 || record->token != *name.session;
}

std::unique_ptr<Store::Connection> StoreImpl::connect(const ExportName& given, const Peer& peer,
                                                      bool read_only) {
  const ExportName name = full_name(given);
  while (true) {
    std::unique_lock connect(connect_mutex_);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) throw Error(ESHUTDOWN, "the server is stopping");
    }
    const auto [station, station_name, image, plan] = receive(name, peer);
    if (name.version) require_may_use(image.name, *name.version, station_name);

    SessionPtr session;
    if (!station_name.empty()) {
      const std::lock_guard lock(mutex_);
      session = find_live(station_name, image.name);
    }
    if (!session && !station_name.empty()) {
      const auto record = catalogue_.session_of(station_name, image.name);
      if (record && record->ended == 0) {
        if (is_over(*record))
          finish_record(*record, false);
        else
          session = resume(*record);
      }
    }
    const bool goes_on = session && name.session && session->record.token == *name.session;
    if (station && !goes_on) require_secret(*station, name, {});
    if (session) {
      std::unique_lock lock(mutex_);
      if (session->finishing) {
        // Its layers are being put in order; then the next session can begin.
        connect.unlock();
        // The next one may have the same id.
        finished_.wait(lock, [&] {
          const auto found = live_.find(session->record.id);
          return found == live_.end() || found->second != session;
        });
        continue;
      }
      if (peer.is_firmware && session->is_taken) {
        require_left(*session);
        lock.unlock();
        connect.unlock();
        finish(session, End::if_left, false, "the station's firmware has begun to boot it again");
        continue;
      }
      if (!is_newer(*session, name)) require_same_peer(*session, peer);
      lock.unlock();
      // It would change what lies below layers that the station has itself.
      if (!name.session && !session->record.token.empty() && !is_station())
        throw Error(EBUSY, "station " + quote(station_name) + " has image " + quote(image.name) +
                               " attached with plydisk, so a plain client is not let in; if its "
                               "machine is gone, end the session with: plydisk session end " +
                               session->record.id);
      if (name.session && session->record.token != *name.session && name.resumes)
        throw Error(ESTALE, "station " + quote(station_name) + " has booted again since");
      if (name.session && session->record.token.empty()) {
        connect.unlock();
        take_token(*session, *name.session);
        continue;
      }
      if (name.session && session->record.token != *name.session) {
        // The same station with a new token has booted again.
        connect.unlock();
        finish(session, End::now, false, "the station has booted again");
        continue;
      }
      if (name.version && *name.version != session->record.version)
        throw Error(EBUSY, "station " + quote(station_name) + " is using version " +
                               std::to_string(session->record.version) + " of image " +
                               quote(image.name));
    } else if (name.resumes) {
      throw Error(ESTALE, "the session in which station " + quote(station_name) +
                              " has written has ended; what it wrote does not fit another one");
    } else {
      session =
          start(image, name.version.value_or(catalogue_.version_for(image.name, station_name)),
                station_name, plan_for(name, peer, station_name, plan), name, peer);
    }
    const bool shuts_out = name.epoch || (!peer.is_firmware && !session->firmware_gate->is_shut());
    if (!join(session, name, peer)) continue;
    auto connection = std::make_unique<ConnectionImpl>(*this, session, peer.is_firmware, read_only);
    connect.unlock();
    if (shuts_out) session->disk->drain();
    return connection;
  }
}

}  // namespace plydisk
