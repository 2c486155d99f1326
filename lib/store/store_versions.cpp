// Versions of images: opened for a station, closed, tested, published and discarded, and made of
// what a session has written.
#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"
#include "store/store_impl.hpp"
#include "store/version_work.hpp"

namespace plydisk {

StoreImpl::VersionWork::VersionWork(StoreImpl& store, const std::string& image)
    : store_(store), image_(image) {
  const std::lock_guard lock(store_.mutex_);
  if (!store_.versions_in_work_.insert(image).second)
    throw Error(EBUSY, "another command works on the versions of image " + quote(image) +
                           ": try again when it is done");
}

StoreImpl::VersionWork::~VersionWork() {
  const std::lock_guard lock(store_.mutex_);
  store_.versions_in_work_.erase(image_);
}

// Direct writes would change what lies below the layers of a version.
void StoreImpl::require_no_version_above(const ImageRecord& image) {
  if (is_station()) return;  // the server decides
  {
    const std::lock_guard lock(mutex_);
    if (versions_in_work_.contains(image.name))
      throw Error(EBUSY, "a command works on the versions of image " + quote(image.name) +
                             ", which lie on what would be written directly: try again when it is "
                             "done");
  }
  for (const VersionRecord& version : catalogue_.versions(image.name))
    if (!version.layers.empty() || version.state == "open")
      throw Error(EBUSY, "version " + std::to_string(version.number) + " of image " +
                             quote(image.name) +
                             " lies on what would be written directly; to change the image, open a "
                             "version of it with: plydisk version open " +
                             image.name);
}

// The session that a user means who says none.
std::string StoreImpl::only_writer(const std::string& image) {
  std::vector<std::string> found;
  for (const SessionStatus& session : sessions())
    if (session.record.image == image && !session.layers.empty())
      found.push_back(session.record.id);
  if (found.size() == 1) return found.front();
  throw Error(EINVAL, "image " + quote(image) + " has " +
                          (found.empty() ? "no session that has written" : "several sessions") +
                          "; say of which one a version is to be made");
}

std::optional<VersionRecord> StoreImpl::version_open_for(const std::string& image,
                                                         const std::string& station) {
  if (station.empty() || is_station()) return std::nullopt;
  auto open = catalogue_.open_version(image);
  if (open && open->station != station) open.reset();
  return open;
}

VersionRecord StoreImpl::require_open(const std::string& image, unsigned number) {
  const auto open = catalogue_.open_version(image);
  if (number != 0 && (!open || open->number != number)) {
    catalogue_.version(image, number);  // must exist
    throw Error(EINVAL,
                "version " + std::to_string(number) + " of image " + quote(image) + " is not open");
  }
  if (open) return *open;
  catalogue_.image(image);  // must exist
  throw Error(EINVAL, "no version of image " + quote(image) +
                          " is open; open one with: plydisk version open " + image +
                          " --station NAME");
}

LayerRecord StoreImpl::new_version_layer(const std::string& image,
                                         const std::vector<std::string>& below,
                                         std::uint64_t size) const {
  LayerRecord record;
  record.uuid = random_uuid();
  record.image = image;
  record.parent = below.empty() ? "" : below.back();
  record.position = static_cast<int>(below.size());
  record.destination = Destination::server_persistent;
  record.kind = "data";
  record.state = "frozen";
  record.size = size;
  record.created = std::time(nullptr);
  return record;
}

// Until it is in the catalogue, a crash leaves nothing of it.
std::shared_ptr<Layer> StoreImpl::create_version_layer(const LayerRecord& record) {
  catalogue_.announce_layer(record.uuid);
  LayerOptions options;
  options.durability = Durability::durable;
  options.boot_id = boot_id_;
  return Layer::create(directory_ / "layers" / record.uuid,
                       {record.uuid, record.parent, record.size}, options);
}

// Copies what the stack's layers hold into one frozen layer on top of a version. The catalogue does
// not have it yet.
LayerRecord StoreImpl::fold_to_frozen(const VersionRecord& below, const Stack& stack,
                                      std::uint64_t size, const Progress& progress) {
  const LayerRecord record = new_version_layer(below.image, below.layers, size);
  try {
    const auto layer = create_version_layer(record);
    fold(stack.layers, *layer, progress);
    layer->freeze();
  } catch (...) {
    remove_layers({record});
    throw;
  }
  return record;
}

// Called before and after another version becomes a station's next: a session that has written
// nothing is in no record, and must go on with its own version if the server is started anew. One
// that is being changed is recorded by that.
void StoreImpl::record_versions_in_use(const std::string& image) {
  std::vector<SessionPtr> live;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      if (session->record.image == image && !session->anonymous) live.push_back(session);
  }
  for (const SessionPtr& session : live) {
    const std::unique_lock change(session->change_mutex, std::try_to_lock);
    if (change && !session->ended && !session->recorded) save(*session);
  }
}

// After what it consists of has changed. Sessions that have it open keep it as it was.
void StoreImpl::forget_version(const std::string& image, unsigned number) {
  std::shared_ptr<const Version> forgotten;
  const std::lock_guard lock(mutex_);
  if (const auto found = versions_.find({image, number}); found != versions_.end()) {
    forgotten = found->second.version;
    versions_.erase(found);
  }
}

// Removes the files of layers that the change takes out of the image's versions, and of this
// session.
void StoreImpl::drop_version_layers(const std::string& image, const std::string& session,
                                    const std::function<void()>& change) {
  std::vector<LayerRecord> before;
  for (const LayerRecord& layer : catalogue_.layers())
    if (layer.image == image && (layer.session.empty() || layer.session == session))
      before.push_back(layer);
  change();
  std::erase_if(before, [&](const LayerRecord& layer) {
    return catalogue_.find_layer(layer.uuid).has_value();
  });
  remove_layers(before);
}

// Merged ones that no session is on any more. One that has written nothing is not in the catalogue.
std::vector<VersionRecord> StoreImpl::unused_versions() {
  std::vector<VersionRecord> unused = catalogue_.unused_versions();
  const std::lock_guard lock(mutex_);
  std::erase_if(unused, [&](const VersionRecord& version) {
    return std::ranges::any_of(live_, [&](const auto& entry) {
      const LiveSession& session = *entry.second;
      return session.record.image == version.image && session.record.version == version.number &&
             !session.finishing;
    });
  });
  return unused;
}

void StoreImpl::remove_version(const VersionRecord& version) {
  drop_version_layers(version.image, "", [&] {
    with_reserve([&] { catalogue_.remove_version(version.image, version.number); });
  });
  forget_version(version.image, version.number);
}

void StoreImpl::remove_unused_versions() noexcept {
  try {
    for (const VersionRecord& version : unused_versions()) remove_version(version);
  } catch (const std::exception&) {
    // When the next session ends, the store is opened, or by gc.
  }
}

VersionRecord StoreImpl::open_version(const std::string& name, const std::string& station,
                                      unsigned base, const std::string& comment) {
  const VersionWork work(*this, name);
  record_versions_in_use(name);
  std::unique_lock connect(connect_mutex_);
  const ImageRecord image = catalogue_.image(name);
  const StationRecord writer = catalogue_.station(station);
  if (writer.image && *writer.image != name)
    throw Error(EINVAL, "station " + quote(station) + " uses image " + quote(*writer.image) +
                            "; give it the other one first, with: plydisk station set " + station +
                            " --image " + name);
  const VersionRecord below = catalogue_.version(name, base == 0 ? image.published : base);
  if (below.state == "open" || below.state == "retired")
    throw Error(EINVAL, "version " + std::to_string(below.number) + " of image " + quote(name) +
                            " is " + below.state + ", so nothing can be made on it");
  if (image.backing_dirty)
    throw Error(EBUSY,
                "image " + quote(name) + " is being written directly; end that session first");
  if (const auto rest = catalogue_.session_of(station, name)) {
    const std::vector<LayerRecord> layers = catalogue_.session_layers(rest->id);
    if (rest->on_station || std::ranges::any_of(layers, [](const LayerRecord& layer) {
          return is_persistent(layer.destination);
        }))
      throw Error(EBUSY, "station " + quote(station) + " keeps writes on version " +
                             std::to_string(rest->version) + " of image " + quote(name) +
                             "; make a version of them with: plydisk version from " + rest->id +
                             ", or drop them with: plydisk session end " + rest->id + " --discard");
  }
  {
    const std::lock_guard lock(mutex_);
    const SessionPtr live = find_live(station, name);
    if (live && what_is_written_survives(live->claimed, live->seen_layers))
      throw Error(EBUSY, "station " + quote(station) +
                             " is running, and what it writes to version " +
                             std::to_string(live->record.version) + " of image " + quote(name) +
                             " is kept for its next session; shut it down first, or redirect it "
                             "to a volatile destination");
  }
  VersionRecord version;
  version.image = name;
  version.state = "open";
  version.base = below.number;
  version.station = station;
  version.comment = comment;
  version.created = std::time(nullptr);
  version.layers = below.layers;
  version.number = catalogue_.add_version(version, {});
  connect.unlock();
  record_versions_in_use(name);
  return version;
}

// The session that has written an open version. Its station is not let in any more when this
// returns, until the caller takes the session out of closing_.
SessionRecord StoreImpl::ended_session_of(const VersionRecord& version) {
  const std::lock_guard connect(connect_mutex_);
  const auto session = catalogue_.session_of(version.station, version.image);
  const auto is_live = [&] {
    const std::lock_guard lock(mutex_);
    return find_live(version.station, version.image) != nullptr;
  }();
  if (is_live || (session && session->ended == 0 && !is_over(*session)))
    throw Error(EBUSY, "station " + quote(version.station) +
                           " is using the version; shut it down first. A session that is left "
                           "over is ended with: plydisk session end " +
                           version.image + "@" + version.station);
  if (session && session->ended == 0) finish_record(*session, false);
  const auto rest = catalogue_.session_of(version.station, version.image);
  if (!rest || rest->version != version.number || catalogue_.session_layers(rest->id).empty())
    throw Error(EINVAL, "station " + quote(version.station) + " has written nothing to version " +
                            std::to_string(version.number) + " of image " + quote(version.image) +
                            "; give it up with: plydisk version discard " + version.image + " " +
                            std::to_string(version.number));
  const std::lock_guard lock(mutex_);
  closing_.insert(rest->id);
  return *rest;
}

VersionRecord StoreImpl::close_version(const std::string& image, unsigned number,
                                       const Progress& progress) {
  const VersionWork work(*this, image);
  const VersionRecord open = require_open(image, number);
  const SessionRecord session = ended_session_of(open);
  struct Reopen {
    StoreImpl& store;
    const std::string& session;
    ~Reopen() {
      const std::lock_guard lock(store.mutex_);
      store.closing_.erase(session);
    }
  } const reopen{*this, session.id};

  const std::vector<LayerRecord> layers = catalogue_.session_layers(session.id);
  LayerRecord layer = layers.front();
  std::vector<LayerRecord> gone;
  if (layers.size() == 1 && layer.kind == "data" && !find_viewed_layer(layer.uuid)) {
    // It becomes the version's as it is. If it does not come to that, it is a session's again as
    // soon as it is opened.
    look_at_layer(layer, [](Layer& written) { written.freeze(); });
    layer.session.clear();
    layer.state = "frozen";
    layer.position = static_cast<int>(open.layers.size());
    layer.created = std::time(nullptr);
  } else {
    Stack stack;
    for (auto one = layers.rbegin(); one != layers.rend(); ++one)
      stack.layers.push_back(open_layer(*one, nullptr));
    layer = fold_to_frozen(open, stack, layer.size, progress);
    gone = layers;
  }
  try {
    const std::lock_guard connect(connect_mutex_);
    catalogue_.close_version(image, open.number, layer, session.id);
    forget_version(image, open.number);
  } catch (...) {
    if (!gone.empty()) remove_layers({layer});
    throw;
  }
  remove_layers(gone);
  hash_version(image, open.number, progress);
  return catalogue_.version(image, open.number);
}

VersionRecord StoreImpl::publish_version(const std::string& image, unsigned number) {
  record_versions_in_use(image);
  std::unique_lock connect(connect_mutex_);
  if (number == 0) {
    for (const VersionRecord& version : catalogue_.versions(image))
      if (version.state == "frozen" || version.state == "published") number = version.number;
  }
  if (catalogue_.image(image).backing_dirty)
    throw Error(EBUSY,
                "image " + quote(image) + " is being written directly; end that session first");
  with_reserve([&] { catalogue_.publish_version(image, number); });
  connect.unlock();
  record_versions_in_use(image);
  return catalogue_.version(image, number);
}

VersionRecord StoreImpl::test_version(const std::string& image, unsigned number,
                                      const std::vector<std::string>& stations) {
  record_versions_in_use(image);
  std::unique_lock connect(connect_mutex_);
  with_reserve([&] { catalogue_.test_version(image, number, stations); });
  connect.unlock();
  record_versions_in_use(image);
  return catalogue_.version(image, number);
}

void StoreImpl::discard_version(const std::string& image, unsigned given) {
  const VersionWork work(*this, image);
  const unsigned number = given == 0 ? require_open(image, 0).number : given;
  const std::lock_guard connect(connect_mutex_);
  const VersionRecord version = catalogue_.version(image, number);
  std::string session;
  if (version.state == "open") {
    const auto record = catalogue_.session_of(version.station, image);
    if (record && record->ended != 0 && record->version == number) session = record->id;
  }
  {
    // One that has written nothing is not in the catalogue.
    const std::lock_guard lock(mutex_);
    for (const auto& [id, live] : live_)
      if (live->record.image == image && live->record.version == number)
        throw Error(EBUSY, "version " + std::to_string(number) + " of image " + quote(image) +
                               " is in use by session " + id +
                               (live->anonymous || live->record.station.empty()
                                    ? ""
                                    : " of station " + quote(live->record.station)) +
                               "; end it first with: plydisk session end " + id);
  }
  drop_version_layers(image, session, [&] {
    with_reserve([&] { catalogue_.remove_version(image, number, session); });
  });
  forget_version(image, number);
}

SessionRecord StoreImpl::session_to_freeze(const std::string& image, const std::string& given) {
  const SessionRecord session =
      this->session(given.empty() ? only_writer(image) : session_id(given)).record;
  if (!image.empty() && session.image != image)
    throw Error(EINVAL, "session " + session.id + " is on image " + quote(session.image) +
                            ", not on " + quote(image));
  return session;
}

// The version that a new one is made on, of what the session has written. The caller works on the
// image's versions.
VersionRecord StoreImpl::require_closed_base(const SessionRecord& session) {
  const VersionRecord below = catalogue_.version(session.image, session.version);
  if (below.state == "open")
    throw Error(EINVAL, "session " + session.id + " writes version " +
                            std::to_string(below.number) + " of image " + quote(session.image) +
                            "; shut its station down, then: plydisk version close " +
                            session.image);
  return below;
}

// `layer`: what the session has written. It is removed if there is an error.
VersionRecord StoreImpl::add_frozen_version(const SessionRecord& session,
                                            const VersionRecord& below, const LayerRecord& layer,
                                            const Progress& progress) {
  VersionRecord version;
  version.image = below.image;
  version.state = "frozen";
  version.base = below.number;
  version.created = layer.created;
  version.comment =
      "written by " + (session.station.empty() ? "session " + session.id : session.station);
  version.layers = below.layers;
  version.layers.push_back(layer.uuid);
  try {
    const std::lock_guard connect(connect_mutex_);
    version.number = catalogue_.add_version(version, {layer});
  } catch (...) {
    remove_layers({layer});
    throw;
  }
  hash_version(version.image, version.number, progress);
  return version;
}

VersionRecord StoreImpl::freeze_version(const std::string& name, const std::string& given,
                                        const Progress& progress) {
  const SessionRecord session = session_to_freeze(name, given);
  const std::string& id = session.id;
  const VersionWork work(*this, session.image);
  const VersionRecord below = require_closed_base(session);
  DiskView view;
  try {
    view = view_session(id);
  } catch (const Error& error) {
    if (error.code() != EREMOTE) throw;
    throw Error(EREMOTE, "station " + quote(session.station) + " keeps writes of session " + id +
                             " itself, and can't be asked for them now: attach it, or boot it, "
                             "and try again");
  }
  if (view.moment == 0)
    throw Error(EINVAL,
                "session " + id + " has written directly, which is in the image itself already");
  if (view.stack->layers.empty()) throw Error(EINVAL, "session " + id + " has written nothing");
  const LayerRecord layer =
      fold_to_frozen(below, *view.stack, catalogue_.image(session.image).size, progress);
  return add_frozen_version(session, below, layer, progress);
}

// What is written to a new version is made a part of it by the server, which must have it then.
void StoreImpl::require_open_version_here(const SessionRecord& session, Destination destination) {
  const auto open = version_open_for(session.image, session.station);
  if (!open || open->number != session.version) return;
  if (destination != Destination::server_persistent && destination != Destination::server_volatile)
    throw Error(EBUSY, "session " + session.id + " writes version " + std::to_string(open->number) +
                           " of image " + quote(session.image) +
                           ", so its writes go to server-persistent; to server-volatile for what "
                           "is not to be a part of it");
}

}  // namespace plydisk
