// Images, their versions, and the layers of both.
#include <ctime>

#include "base/uuid.hpp"
#include "store/catalogue.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

constexpr const char* select_images =
    "SELECT name, size, backing, linked, description, writes, created, published, backing_size, "
    "backing_mtime_ns, backing_dirty, uuid, writer, changed FROM image ";

ImageRecord read_image(const Statement& row) {
  ImageRecord image;
  image.name = row.text(0);
  image.size = static_cast<std::uint64_t>(row.integer(1));
  image.backing = row.text(2);
  image.linked = row.integer(3) != 0;
  image.description = row.text(4);
  if (!row.is_null(5)) image.writes = WritePlan(row.text(5));
  image.created = row.integer(6);
  image.published = static_cast<unsigned>(row.integer(7));
  image.backing_size = static_cast<std::uint64_t>(row.integer(8));
  image.backing_mtime_ns = row.integer(9);
  image.backing_dirty = row.integer(10) != 0;
  image.uuid = row.text(11);
  image.writer = row.text(12);
  image.changed = row.integer(13);
  return image;
}

void require_sound(const ImageRecord& image) {
  require_valid_name("image", image.name);
  rows::require_disk_size(image.size);
  rows::require_text("the description", image.description);
  if (image.backing.empty() || image.backing.find('\0') != std::string::npos)
    throw Error(EINVAL, "the image " + quote(image.name) + " needs the path of a backing");
}

std::optional<ImageRecord> find_image_row(Database& db, const std::string& name) {
  Statement row = prepare(db, std::string(select_images) + "WHERE name = ?", name);
  if (!row.step()) return std::nullopt;
  return read_image(row);
}

VersionRecord read_version(Database& db, const Statement& row) {
  VersionRecord version;
  version.image = row.text(0);
  version.number = static_cast<unsigned>(row.integer(1));
  version.created = row.integer(2);
  version.state = row.integer(3) != 0 ? "published" : "frozen";
  Statement layer = prepare(
      db, "SELECT layer FROM version_layer WHERE image = ? AND number = ? ORDER BY position",
      version.image, version.number);
  while (layer.step()) version.layers.push_back(layer.text(0));
  return version;
}

constexpr const char* select_versions =
    "SELECT image, number, version.created, number = published FROM version "
    "JOIN image ON image.name = version.image ";

}  // namespace

std::vector<ImageRecord> Catalogue::images() {
  const std::lock_guard lock(mutex_);
  std::vector<ImageRecord> images;
  Statement row(db_, std::string(select_images) + "ORDER BY name");
  while (row.step()) images.push_back(read_image(row));
  return images;
}

std::optional<ImageRecord> Catalogue::find_image(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return find_image_row(db_, name);
}

ImageRecord Catalogue::image(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (auto image = find_image_row(db_, name)) return *image;
  rows::no_such_image(db_, name);
}

void Catalogue::add_image(const ImageRecord& image) {
  require_sound(image);
  if (image.published != 1)
    throw Error(EINVAL, "the image " + quote(image.name) + " begins with version 1");
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  if (find_image_row(db_, image.name))
    throw Error(EEXIST, "there is an image " + quote(image.name) +
                            " already: choose another name, or remove it first");
  run(db_,
      "INSERT INTO image(name, size, backing, linked, description, writes, created, published, "
      "backing_size, backing_mtime_ns, backing_dirty, uuid, writer, changed) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      image.name, image.size, image.backing, image.linked, image.description, image.writes,
      image.created, image.published, image.backing_size, image.backing_mtime_ns,
      image.backing_dirty, image.uuid.empty() ? random_uuid() : image.uuid, image.writer,
      image.created);
  run(db_, "INSERT INTO version(image, number, created) VALUES(?, 1, ?)", image.name,
      image.created);
  transaction.commit();
  events_.add(Topic::images, "added", image.name);
}

ImageRecord Catalogue::change_image(const std::string& name,
                                    const std::function<void(ImageRecord&)>& change) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  std::optional<ImageRecord> image = find_image_row(db_, name);
  if (!image) rows::no_such_image(db_, name);
  change(*image);
  image->changed = std::time(nullptr);
  require_sound(*image);
  rows::require_version(db_, name, image->published);
  run(db_,
      "UPDATE image SET size = ?, backing = ?, linked = ?, description = ?, writes = ?, "
      "created = ?, published = ?, backing_size = ?, backing_mtime_ns = ?, backing_dirty = ?, "
      "uuid = ?, writer = ?, changed = ? WHERE name = ?",
      image->size, image->backing, image->linked, image->description, image->writes, image->created,
      image->published, image->backing_size, image->backing_mtime_ns, image->backing_dirty,
      image->uuid, image->writer, image->changed, name);
  transaction.commit();
  events_.add(Topic::images, "changed", name);
  return *image;
}

void Catalogue::remove_image(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_image(db_, name);
  if (Statement row = prepare(db_, "SELECT id, station FROM session WHERE image = ?", name);
      row.step())
    throw Error(EBUSY, "the image " + quote(name) + " is in use by session " + row.text(0) +
                           (row.text(1).empty() ? "" : " of station " + quote(row.text(1))) +
                           ": end its sessions first, with --discard if they are at rest");
  if (Statement row = prepare(db_, "SELECT name FROM station WHERE image = ?", name); row.step())
    throw Error(EBUSY, "the image " + quote(name) + " is the one of station " + quote(row.text(0)) +
                           ": give its stations another one first");
  run(db_, "DELETE FROM version_layer WHERE image = ?", name);
  run(db_, "DELETE FROM layer WHERE image = ?", name);
  run(db_, "DELETE FROM image WHERE name = ?", name);
  transaction.commit();
  events_.add(Topic::images, "removed", name);
  events_.add(Topic::layers, "removed", "", "of image " + name);
}

std::vector<VersionRecord> Catalogue::versions(const std::string& image) {
  const std::lock_guard lock(mutex_);
  rows::require_image(db_, image);
  std::vector<VersionRecord> versions;
  Statement row =
      prepare(db_, std::string(select_versions) + "WHERE image = ? ORDER BY number", image);
  while (row.step()) versions.push_back(read_version(db_, row));
  return versions;
}

VersionRecord Catalogue::version(const std::string& image, unsigned number) {
  const std::lock_guard lock(mutex_);
  rows::require_version(db_, image, number);
  Statement row =
      prepare(db_, std::string(select_versions) + "WHERE image = ? AND number = ?", image, number);
  row.step();
  return read_version(db_, row);
}

void Catalogue::add_version(const VersionRecord& version, const std::vector<LayerRecord>& layers) {
  if (version.number == 0) throw Error(EINVAL, "versions are numbered from 1");
  if (version.state != "published" && version.state != "frozen")
    throw Error(EINVAL, "a version cannot have the state " + quote(version.state));
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_image(db_, version.image);
  if (rows::exists(db_, "SELECT 1 FROM version WHERE image = ? AND number = ?", version.image,
                   version.number))
    throw Error(EEXIST, "the image " + quote(version.image) + " has a version " +
                            std::to_string(version.number) + " already");
  run(db_, "INSERT INTO version(image, number, created) VALUES(?, ?, ?)", version.image,
      version.number, version.created);
  for (const LayerRecord& layer : layers) {
    rows::require_layer_of(layer, version.image);
    // A session's layer may become the version's.
    run(db_, "DELETE FROM layer WHERE uuid = ?", layer.uuid);
    rows::insert_layer(db_, layer);
  }
  rows::require_parents(db_, layers);
  int position = 0;
  for (const std::string& uuid : version.layers) {
    if (!rows::exists(db_, "SELECT 1 FROM layer WHERE uuid = ? AND image = ?", uuid, version.image))
      throw Error(ENOENT,
                  "there is no layer " + quote(uuid) + " of the image " + quote(version.image));
    run(db_, "INSERT INTO version_layer(image, number, position, layer) VALUES(?, ?, ?, ?)",
        version.image, version.number, position++, uuid);
  }
  if (version.state == "published")
    run(db_, "UPDATE image SET published = ? WHERE name = ?", version.number, version.image);
  transaction.commit();
  for (const LayerRecord& layer : layers) events_.add(Topic::layers, "added", layer.uuid);
  events_.add(Topic::images, "version added", version.image, std::to_string(version.number));
}

std::vector<LayerRecord> Catalogue::layers() {
  const std::lock_guard lock(mutex_);
  std::vector<LayerRecord> layers;
  Statement row(
      db_, std::string(rows::select_layers) + "ORDER BY image, session, position, created, uuid");
  while (row.step()) layers.push_back(rows::read_layer(row));
  return layers;
}

std::vector<std::string> Catalogue::doomed_layers() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> uuids;
  Statement row(db_, "SELECT layer FROM doomed");
  while (row.step()) uuids.push_back(row.text(0));
  return uuids;
}

void Catalogue::announce_layer(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  run(db_, "INSERT OR IGNORE INTO doomed VALUES(?)", uuid);
}

void Catalogue::forget_doomed(const std::vector<std::string>& uuids) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  for (const std::string& uuid : uuids) run(db_, "DELETE FROM doomed WHERE layer = ?", uuid);
  transaction.commit();
}

std::optional<LayerRecord> Catalogue::find_layer(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_, std::string(rows::select_layers) + "WHERE uuid = ?", uuid);
  if (!row.step()) return std::nullopt;
  return rows::read_layer(row);
}

}  // namespace plydisk
