// Versions of images: made of what a session has written.
#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

// Direct writes would change what lies below the layers of a version.
void StoreImpl::require_no_version_above(const ImageRecord& image) {
  if (is_station()) return;  // the server decides
  for (const VersionRecord& version : catalogue_.versions(image.name))
    if (!version.layers.empty())
      throw Error(EBUSY, "version " + std::to_string(version.number) + " of image " +
                             quote(image.name) +
                             " has layers that lie on what would be written directly");
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

VersionRecord StoreImpl::freeze_version(const std::string& name, const std::string& given,
                                        const Progress& progress) {
  const ImageRecord image = catalogue_.image(name);
  const std::string id = given.empty() ? only_writer(name) : session_id(given);
  const SessionRecord session = this->session(id).record;
  if (session.image != name)
    throw Error(EINVAL, "session " + id + " is on image " + quote(session.image) + ", not on " +
                            quote(name));
  const DiskView view = view_session(id);
  if (view.moment == 0)
    throw Error(EINVAL,
                "session " + id + " has written directly, which is in the image itself already");
  if (view.stack->layers.empty()) throw Error(EINVAL, "session " + id + " has written nothing");

  const VersionRecord below = catalogue_.version(name, session.version);
  LayerRecord record;
  record.uuid = random_uuid();
  record.image = name;
  record.parent = below.layers.empty() ? "" : below.layers.back();
  record.position = static_cast<int>(below.layers.size());
  record.destination = Destination::server_persistent;
  record.kind = "data";
  record.state = "frozen";
  record.size = image.size;
  record.created = std::time(nullptr);
  catalogue_.announce_layer(record.uuid);
  try {
    LayerOptions options;
    options.durability = Durability::durable;
    options.boot_id = boot_id_;
    const auto layer = Layer::create(directory_ / "layers" / record.uuid,
                                     {record.uuid, record.parent, record.size}, options);
    fold(view.stack->layers, *layer, progress);
    layer->freeze();
    VersionRecord version = below;
    version.state = "frozen";
    version.created = record.created;
    version.layers.push_back(record.uuid);
    const std::lock_guard connect(connect_mutex_);
    for (const VersionRecord& other : catalogue_.versions(name))
      version.number = std::max(version.number, other.number + 1);
    catalogue_.add_version(version, {record});
    return version;
  } catch (...) {
    remove_layers({record});
    throw;
  }
}

}  // namespace plydisk
