// Images, and the layers that there are.
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
    "backing_mtime_ns, backing_dirty, uuid, writer, changed, newest FROM image ";

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
  image.newest = static_cast<unsigned>(row.integer(14));
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
      "backing_size, backing_mtime_ns, backing_dirty, uuid, writer, changed, newest) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
      image.name, image.size, image.backing, image.linked, image.description, image.writes,
      image.created, image.published, image.backing_size, image.backing_mtime_ns,
      image.backing_dirty, image.uuid.empty() ? random_uuid() : image.uuid, image.writer,
      image.created);
  run(db_,
      "INSERT INTO version(image, number, state, base, comment, created) "
      "VALUES(?, 1, 'frozen', 0, '', ?)",
      image.name, image.created);
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

std::vector<std::string> Catalogue::doomed_images() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  Statement row(db_, "SELECT image FROM doomed_image");
  while (row.step()) names.push_back(row.text(0));
  return names;
}

void Catalogue::announce_image(const std::string& name) {
  require_valid_name("image", name);
  const std::lock_guard lock(mutex_);
  if (find_image_row(db_, name))
    throw Error(EEXIST, "there is an image " + quote(name) + " already");
  run(db_, "INSERT OR IGNORE INTO doomed_image VALUES(?)", name);
}

void Catalogue::forget_doomed_image(const std::string& name) {
  const std::lock_guard lock(mutex_);
  run(db_, "DELETE FROM doomed_image WHERE image = ?", name);
}

std::optional<LayerRecord> Catalogue::find_layer(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_, std::string(rows::select_layers) + "WHERE uuid = ?", uuid);
  if (!row.step()) return std::nullopt;
  return rows::read_layer(row);
}

}  // namespace plydisk
