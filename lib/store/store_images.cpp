// Images: making, copying in, checking and opening them.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/units.hpp"
#include "base/uuid.hpp"
#include "base/zeros.hpp"
#include "store/version_work.hpp"

namespace plydisk {

namespace {

struct stat stat_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) throw_errno("cannot open " + path);
  return info;
}

std::int64_t mtime_ns(const struct stat& info) {
  return static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
}

// Copies the data that is not zeros; what is left out stays a hole.
void copy_sparse(const Backing& from, const File& to, const Progress& progress) {
  std::vector<std::byte> buffer(1 << 20);
  from.for_each_extent(0, from.size(), [&](std::uint64_t at, std::uint64_t bytes, bool is_zero) {
    const std::uint64_t end = at + bytes;
    while (!is_zero && at < end) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(end - at, buffer.size()));
      from.read(buffer.data(), piece, at);
      for (std::size_t i = 0; i < piece; i += chunk_size) {
        const auto length = std::min<std::size_t>(chunk_size, piece - i);
        const auto* const bytes_here = buffer.data() + i;
        if (!is_all_zeros(bytes_here, length)) to.write(bytes_here, length, at + i);
      }
      at += piece;
      if (progress) progress(at, from.size());
    }
  });
}

}  // namespace

std::filesystem::path StoreImpl::backing_path(const ImageRecord& image) const {
  // An absolute path stays what it is.
  return directory_ / image.backing;
}

std::string StoreImpl::backing_of(const ImageRecord& image) const {
  return is_nbd_uri(image.backing) ? image.backing : backing_path(image).string();
}

void StoreImpl::check_backing(const ImageRecord& image) const {
  // A server is asked when it is connected to.
  if (is_nbd_uri(image.backing)) return;
  const std::string path = backing_path(image).string();
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    throw_errno("the backing of image " + quote(image.name) + " is missing: " + path);
  const std::uint64_t size = File::open(path, O_RDONLY).size();
  const std::string remedy =
      "; put it back, or take it as it is with: plydisk image accept " + image.name;
  if (size < image.backing_size)
    throw Error(EUCLEAN, "the backing of image " + quote(image.name) + " shrank from " +
                             std::to_string(image.backing_size) + " to " + std::to_string(size) +
                             " bytes: " + path + "; put it back");
  // Direct writes extend an odd file to whole sectors.
  if (size != image.backing_size && !(image.backing_dirty && size == image.size))
    throw Error(EUCLEAN,
                "the backing of image " + quote(image.name) + " has grown: " + path + remedy);
  if (image.backing_mtime_ns != 0 && !image.backing_dirty &&
      mtime_ns(info) != image.backing_mtime_ns)
    throw Error(EUCLEAN, "the backing of image " + quote(image.name) +
                             " was changed by somebody else: " + path + remedy);
}

void StoreImpl::record_backing(ImageRecord& image) const {
  if (is_nbd_uri(image.backing)) {
    image.backing_size = image.size;
    image.backing_mtime_ns = 0;
    image.backing_dirty = false;
    return;
  }
  const std::string path = backing_path(image).string();
  const File file = File::open(path, O_RDONLY);
  try {
    // A power cut must not bring back an older time than the one that is recorded.
    file.sync();
  } catch (const Error& error) {
    // Read-only media have nothing to sync, and say so.
    if (error.code() != EINVAL && error.code() != EROFS) throw;
  }
  const struct stat info = stat_of(path);
  image.backing_size = file.size();
  image.backing_mtime_ns = S_ISREG(info.st_mode) ? mtime_ns(info) : 0;
  image.backing_dirty = false;
}

// What all ways to make an image have in common.
ImageRecord StoreImpl::new_image_record(const NewImage& image) {
  require_valid_name("image", image.name);
  if (catalogue_.find_image(image.name))
    throw Error(EEXIST, "there is an image " + quote(image.name) + " already");
  ImageRecord record;
  record.name = image.name;
  record.uuid = image.uuid.empty() ? random_uuid() : image.uuid;
  record.description = image.description;
  record.writes = image.writes;
  record.created = std::time(nullptr);
  return record;
}

// A capture that is under way has its folder locked, and would have copied in vain.
void StoreImpl::require_no_capture(const std::string& name) const {
  const auto folder = directory_ / captures_name / name;
  if (std::filesystem::exists(folder) && !lock_directory(folder))
    throw Error(EBUSY, "the image " + quote(name) +
                           " is being captured or built just now: give this one another name, or "
                           "wait for that one");
}

ImageStatus StoreImpl::create_image(const NewImage& image, const Progress& progress) {
  if (image.size.has_value() == !image.from.empty())
    throw Error(EINVAL, "give either a size or a source for the image");
  if (image.link && image.from.empty())
    throw Error(EINVAL,
                "only an image that is made from a file, a block device or a server can be linked");
  if (image.size && (*image.size == 0 || *image.size % sector_size != 0))
    throw Error(EINVAL, "the size of an image is a multiple of 512 bytes, and not 0");

  ImageRecord record = new_image_record(image);
  require_no_capture(image.name);
  if (image.link) {
    record.backing =
        is_nbd_uri(image.from) ? image.from : std::filesystem::absolute(image.from).string();
    record.linked = true;
    record.size = open_backing(record.backing, options_.nbd)->size();
    record_backing(record);
    catalogue_.add_image(record);
    return status_of(record);
  }

  const VersionWork work(*this, record.name);
  // A name with a dot is removed at the next start if we do not come to the end.
  const auto unfinished = directory_ / "images" / (".new-" + random_hex(8));
  create_directory_durably(unfinished);
  try {
    const File disk = File::open(unfinished / "disk", O_RDWR | O_CREAT | O_EXCL);
    const auto source = image.from.empty() ? nullptr : open_backing(image.from, options_.nbd);
    record.size = source ? source->size() : *image.size;
    disk.truncate(record.size);
    if (source) copy_sparse(*source, disk, progress);
    disk.sync_data();
    sync_directory(unfinished);
    add_image(record,
              [&](const std::filesystem::path& folder) { rename_file(unfinished, folder); });
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(unfinished, ignored);
    throw;
  }
  if (!image.from.empty()) hash_version(image.name, 1, progress);
  return status_of(record);
}

// Lets `make` put the finished disk into the image's folder, which is not there yet, and adds the
// image. Until it is in the catalogue, the folder is known to be ours to remove.
void StoreImpl::add_image(ImageRecord& record,
                          const std::function<void(const std::filesystem::path&)>& make) {
  const auto folder = directory_ / "images" / record.name;
  const std::lock_guard connect(connect_mutex_);
  if (std::filesystem::exists(folder)) {
    const auto doomed = catalogue_.doomed_images();
    if (std::ranges::find(doomed, record.name) == doomed.end())
      throw Error(EEXIST,
                  folder.string() + " is there, but no image of the catalogue; remove it first");
    remove_tree(folder);
  }
  catalogue_.announce_image(record.name);
  try {
    make(folder);
    sync_directory(directory_ / "images");
    record.backing = "images/" + record.name + "/disk";
    record_backing(record);
    catalogue_.add_image(record);
  } catch (...) {
    remove_image_folder(record.name);
    throw;
  }
}

// Of an image that the catalogue does not have any more, or not yet. What can't be removed now is
// when the store is opened next.
void StoreImpl::remove_image_folder(const std::string& name) noexcept {
  try {
    remove_tree(directory_ / "images" / name);
    sync_directory(directory_ / "images");
    catalogue_.forget_doomed_image(name);
  } catch (const std::exception&) {
    // It is in the catalogue's list of those.
  }
}

// The disk gets its second name, in the image's folder, before the image is there, and loses its
// first one after that: so it is in one of both places whenever the power goes.
ImageStatus StoreImpl::adopt_image(const NewImage& image, const Progress& progress) {
  ImageRecord record = new_image_record(image);
  const VersionWork work(*this, record.name);
  const auto capture = directory_ / captures_name / image.name;
  const auto disk = capture / "disk";
  if (!std::filesystem::is_regular_file(disk))
    throw Error(ENOENT, "there is no finished disk in " + capture.string());
  {
    const File file = File::open(disk, O_RDWR);
    record.size = file.size();
    if (record.size == 0 || record.size % sector_size != 0)
      throw Error(EINVAL, disk.string() + " has " + std::to_string(record.size) +
                              " bytes; a disk has a multiple of 512");
    file.sync();
  }
  add_image(record, [&](const std::filesystem::path& folder) {
    create_directory_durably(folder);
    link_file(disk, folder / "disk");
    sync_directory(folder);
  });
  // Under a name with a dot it is removed at the next start if we do not come to the end, whatever
  // is left of it.
  const auto adopted = directory_ / captures_name / (".adopted-" + random_hex(8));
  rename_file(capture, adopted);
  sync_directory(directory_ / captures_name);
  remove_tree(adopted);
  hash_version(image.name, 1, progress);
  return status_of(record);
}

ImageStatus StoreImpl::status_of(const ImageRecord& image) {
  ImageStatus status;
  status.record = image;
  status.state = "ok";
  try {
    check_backing(image);
  } catch (const Error& error) {
    status.state = error.what();
  }
  std::vector<std::filesystem::path> paths{hashes_folder(image)};
  if (image.linked && !is_nbd_uri(image.backing)) paths.push_back(backing_path(image));
  std::set<std::string> layers;
  for (const auto& version : catalogue_.versions(image.name))
    layers.insert(version.layers.begin(), version.layers.end());
  for (const auto& uuid : layers) paths.push_back(layer_folder(uuid));
  status.allocated = allocated_in(paths);
  const std::lock_guard lock(mutex_);
  for (const auto& [id, session] : live_) status.sessions += session->record.image == image.name;
  return status;
}

// What several have counts for the oldest of them: the one that it was made for, if that is there.
std::uint64_t StoreImpl::version_allocated(const VersionRecord& version) {
  const ImageRecord image = catalogue_.image(version.image);
  std::set<std::string> counted;
  bool is_oldest = true;
  for (const auto& other : catalogue_.versions(version.image)) {
    if (other.number >= version.number) break;
    is_oldest = false;
    counted.insert(other.layers.begin(), other.layers.end());
  }
  std::vector<std::filesystem::path> paths;
  if (is_oldest)
    paths.push_back(is_nbd_uri(image.backing) ? hashes_folder(image) : backing_path(image));
  for (const auto& uuid : version.layers)
    if (!counted.contains(uuid)) paths.push_back(layer_folder(uuid));
  if (version.state == "open") {
    if (const auto session = catalogue_.session_of(version.station, version.image);
        session && session->version == version.number)
      for (const auto& layer : catalogue_.session_layers(session->id))
        paths.push_back(layer_folder(layer.uuid));
  }
  return allocated_in(paths);
}

std::vector<ImageStatus> StoreImpl::images() {
  std::vector<ImageStatus> all;
  for (const auto& record : catalogue_.images()) all.push_back(status_of(record));
  return all;
}

ImageStatus StoreImpl::image(const std::string& name) { return status_of(catalogue_.image(name)); }

void StoreImpl::remove_image(const std::string& name) {
  const VersionWork work(*this, name);
  const std::lock_guard connect(connect_mutex_);
  catalogue_.image(name);  // must exist
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      if (session->record.image == name)
        throw Error(EBUSY,
                    "image " + quote(name) + " is in use by session " + id +
                        (session->anonymous ? "" : " of station " + session->record.station) +
                        "; end it first with: plydisk session end " + id);
    std::erase_if(versions_, [&](const auto& entry) { return entry.first.first == name; });
    backings_.erase(name);
  }
  std::vector<LayerRecord> layers;
  for (const auto& version : catalogue_.versions(name))
    for (const auto& uuid : version.layers)
      if (const auto layer = catalogue_.find_layer(uuid)) layers.push_back(*layer);
  with_reserve([&] { catalogue_.remove_image(name); });
  remove_layers(layers);
  remove_image_folder(name);
}

ImageStatus StoreImpl::accept_image(const std::string& name) {
  const VersionWork work(*this, name);
  const std::lock_guard connect(connect_mutex_);
  const ImageRecord record = catalogue_.image(name);
  for (const auto& session : catalogue_.sessions())
    if (session.image == name)
      throw Error(EBUSY, "session " + session.id + " lies on image " + quote(name) +
                             " as it was; end it first with: plydisk session end " + session.id +
                             (session.ended == 0 ? "" : " --discard"));
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      if (session->record.image == name)
        throw Error(EBUSY, "image " + quote(name) + " is in use by session " + id);
    std::erase_if(versions_, [&](const auto& entry) { return entry.first.first == name; });
    backings_.erase(name);
  }
  for (const auto& version : catalogue_.versions(name))
    if (!version.layers.empty())
      throw Error(EBUSY, "version " + std::to_string(version.number) + " of image " + quote(name) +
                             " has layers that lie on the backing as it was");
  const std::uint64_t size = open_backing(backing_of(record), options_.nbd)->size();
  return status_of(catalogue_.change_image(name, [&](ImageRecord& image) {
    image.size = size;
    image.uuid = random_uuid();  // other data
    record_backing(image);
  }));
}

std::shared_ptr<const Version> StoreImpl::load_version(const ImageRecord& image, unsigned number,
                                                       const SessionRecord* goes_on) {
  check_backing(image);
  const auto key = std::make_pair(image.name, number);
  std::shared_ptr<Backing> backing;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = versions_.find(key); known != versions_.end())
      return known->second.version;
    backing = backings_[image.name].lock();
  }
  if (!backing) {
    NbdOptions nbd = options_.nbd;
    nbd.size = image.size;
    if (is_station()) {
      nbd.begins_away = goes_on != nullptr;
      nbd.resumes = nbd.may_be_unflushed = goes_on != nullptr && goes_on->has_passed;
      agreement_.expect_image(image.uuid);
      nbd.on_reconnect = [this](bool has_unflushed) { return agreement_.restore(has_unflushed); };
      nbd.on_first_write = [this] { note_passed(); };
    }
    backing = open_backing(backing_of(image), nbd);
    if (is_station() && options_.over_server && is_nbd_uri(image.backing))
      backing = options_.over_server(std::move(backing));
  }
  if (backing->size() != image.size)
    throw Error(EUCLEAN,
                "the backing of image " + quote(image.name) + " has another size than the image");
  auto version = std::make_shared<const Version>(
      backing, frozen_layers(catalogue_.version(image.name, number)));
  const std::lock_guard lock(mutex_);
  backings_[image.name] = backing;
  versions_[key] = {version};
  return version;
}

}  // namespace plydisk
