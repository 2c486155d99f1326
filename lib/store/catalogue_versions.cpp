// The versions of images.
#include <algorithm>
#include <ctime>

#include "store/catalogue.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

constexpr const char* select_versions =
    "SELECT image, number, version.created, number = published, state, base, station, comment "
    "FROM version JOIN image ON image.name = version.image ";

VersionRecord read_version(Database& db, const Statement& row) {
  VersionRecord version;
  version.image = row.text(0);
  version.number = static_cast<unsigned>(row.integer(1));
  version.created = row.integer(2);
  version.state = row.integer(3) != 0 ? "published" : row.text(4);
  version.base = static_cast<unsigned>(row.integer(5));
  version.station = row.text(6);
  version.comment = row.text(7);
  Statement layer = prepare(
      db, "SELECT layer FROM version_layer WHERE image = ? AND number = ? ORDER BY position",
      version.image, version.number);
  while (layer.step()) version.layers.push_back(layer.text(0));
  Statement tester = prepare(
      db, "SELECT station FROM version_test WHERE image = ? AND number = ? ORDER BY station",
      version.image, version.number);
  while (tester.step()) version.testers.push_back(tester.text(0));
  return version;
}

VersionRecord find_version(Database& db, const std::string& image, unsigned number) {
  rows::require_version(db, image, number);
  Statement row =
      prepare(db, std::string(select_versions) + "WHERE image = ? AND number = ?", image, number);
  row.step();
  return read_version(db, row);
}

std::string name_of(const std::string& image, unsigned number) {
  return "version " + std::to_string(number) + " of image " + quote(image);
}

void put_layers(Database& db, const VersionRecord& version) {
  run(db, "DELETE FROM version_layer WHERE image = ? AND number = ?", version.image,
      version.number);
  int position = 0;
  for (const std::string& uuid : version.layers) {
    if (!rows::exists(db, "SELECT 1 FROM layer WHERE uuid = ? AND image = ?", uuid, version.image))
      throw Error(ENOENT,
                  "there is no layer " + quote(uuid) + " of the image " + quote(version.image));
    run(db, "INSERT INTO version_layer(image, number, position, layer) VALUES(?, ?, ?, ?)",
        version.image, version.number, position++, uuid);
  }
}

// Puts the records of layers that are new, or become a version's, in their place.
void put_records(Database& db, const std::string& image, const std::vector<LayerRecord>& layers) {
  for (const LayerRecord& layer : layers) {
    rows::require_layer_of(layer, image);
    run(db, "DELETE FROM layer WHERE uuid = ?", layer.uuid);
    rows::insert_layer(db, layer);
  }
  rows::require_parents(db, layers);
}

void remove_session_rows(Database& db, const std::string& session) {
  run(db, "DELETE FROM layer WHERE session = ?", session);
  run(db, "DELETE FROM session WHERE id = ?", session);
}

// Layers that belong to no session, and to no version any more.
void remove_unused_layers(Database& db, const std::string& image) {
  run(db,
      "DELETE FROM layer WHERE image = ? AND session IS NULL AND "
      "NOT EXISTS(SELECT 1 FROM version_layer WHERE layer = layer.uuid)",
      image);
}

// What was made on a version that goes is made on what that was made on.
void pass_base_on(Database& db, const VersionRecord& version) {
  run(db, "UPDATE version SET base = ? WHERE image = ? AND base = ?", version.base, version.image,
      version.number);
}

void require_unused(Database& db, const VersionRecord& version, const std::string& but) {
  const std::string name = name_of(version.image, version.number);
  if (version.state == "published")
    throw Error(EBUSY, name + " is published: publish another one first");
  if (!version.testers.empty())
    throw Error(EBUSY, name + " is tested by station " + quote(version.testers.front()) +
                           ": take it away from there first, with: plydisk version test " +
                           version.image + " " + std::to_string(version.number) + " --none");
  Statement row = prepare(
      db, "SELECT id, station, ended FROM session WHERE image = ? AND version = ? AND id <> ?",
      version.image, version.number, but);
  if (row.step())
    throw Error(EBUSY, name + " is in use by session " + row.text(0) +
                           (row.text(1).empty() ? "" : " of station " + quote(row.text(1))) +
                           ": end it first, with: plydisk session end " + row.text(0) +
                           (row.integer(2) == 0 ? "" : " --discard"));
}

void require_frozen(const VersionRecord& version) {
  if (version.state == "frozen" || version.state == "published") return;
  const std::string number = std::to_string(version.number);
  throw Error(EBUSY,
              name_of(version.image, version.number) +
                  (version.state == "open" ? " is open for station " + quote(version.station) +
                                                 ": close it first, with: plydisk version close " +
                                                 version.image + " " + number
                                           : " was merged into another one"));
}

}  // namespace

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
  return find_version(db_, image, number);
}

std::optional<VersionRecord> Catalogue::open_version(const std::string& image) {
  const std::lock_guard lock(mutex_);
  Statement row =
      prepare(db_, std::string(select_versions) + "WHERE image = ? AND state = 'open'", image);
  if (!row.step()) return std::nullopt;
  return read_version(db_, row);
}

unsigned Catalogue::version_for(const std::string& image, const std::string& station) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_,
                          "SELECT coalesce("
                          "(SELECT number FROM version WHERE image = ?1 AND station = ?2), "
                          "(SELECT number FROM version_test WHERE image = ?1 AND station = ?2), "
                          "(SELECT published FROM image WHERE name = ?1))",
                          image, station);
  row.step();
  if (row.is_null(0)) rows::no_such_image(db_, image);
  return static_cast<unsigned>(row.integer(0));
}

unsigned Catalogue::add_version(const VersionRecord& given,
                                const std::vector<LayerRecord>& layers) {
  VersionRecord version = given;
  if (version.state != "published" && version.state != "frozen" && version.state != "open")
    throw Error(EINVAL, "a version cannot have the state " + quote(version.state));
  rows::require_text("the comment", version.comment);
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_image(db_, version.image);
  if (version.base != 0) rows::require_version(db_, version.image, version.base);
  const bool is_open = version.state == "open";
  if (is_open) {
    if (Statement row =
            prepare(db_, "SELECT number, station FROM version WHERE image = ? AND state = 'open'",
                    version.image);
        row.step())
      throw Error(EBUSY, name_of(version.image, static_cast<unsigned>(row.integer(0))) +
                             " is open for station " + quote(row.text(1)) +
                             " already: close or discard it first");
    if (!rows::exists(db_, "SELECT 1 FROM station WHERE name = ?", version.station))
      rows::no_such_station(db_, version.station);
  }
  run(db_, "UPDATE image SET newest = newest + 1 WHERE name = ?", version.image);
  Statement newest = prepare(db_, "SELECT newest FROM image WHERE name = ?", version.image);
  newest.step();
  version.number = static_cast<unsigned>(newest.integer(0));
  newest.reset();
  run(db_,
      "INSERT INTO version(image, number, state, base, station, comment, created) "
      "VALUES(?, ?, ?, ?, ?, ?, ?)",
      version.image, version.number, std::string_view(is_open ? "open" : "frozen"), version.base,
      rows::null_if_empty(is_open ? version.station : ""), version.comment, version.created);
  put_records(db_, version.image, layers);
  put_layers(db_, version);
  if (version.state == "published")
    run(db_, "UPDATE image SET published = ? WHERE name = ?", version.number, version.image);
  transaction.commit();
  for (const LayerRecord& layer : layers) events_.add(Topic::layers, "added", layer.uuid);
  events_.add(Topic::images, is_open ? "version opened" : "version added", version.image,
              std::to_string(version.number));
  return version.number;
}

void Catalogue::close_version(const std::string& image, unsigned number, const LayerRecord& layer,
                              const std::string& session) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  VersionRecord version = find_version(db_, image, number);
  if (version.state != "open") throw Error(EINVAL, name_of(image, number) + " is not open");
  put_records(db_, image, {layer});
  version.layers.push_back(layer.uuid);
  put_layers(db_, version);
  if (!session.empty()) remove_session_rows(db_, session);
  run(db_,
      "UPDATE version SET state = 'frozen', station = NULL, created = ? "
      "WHERE image = ? AND number = ?",
      layer.created, image, number);
  transaction.commit();
  if (!session.empty()) events_.add(Topic::sessions, "removed", session);
  events_.add(Topic::layers, "added", layer.uuid);
  events_.add(Topic::images, "version closed", image, std::to_string(number));
}

void Catalogue::publish_version(const std::string& image, unsigned number) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  require_frozen(find_version(db_, image, number));
  run(db_, "DELETE FROM version_test WHERE image = ? AND number = ?", image, number);
  run(db_, "UPDATE image SET published = ?, changed = ? WHERE name = ?", number, std::time(nullptr),
      image);
  transaction.commit();
  events_.add(Topic::images, "version published", image, std::to_string(number));
}

void Catalogue::test_version(const std::string& image, unsigned number,
                             const std::vector<std::string>& stations) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  require_frozen(find_version(db_, image, number));
  run(db_, "DELETE FROM version_test WHERE image = ? AND number = ?", image, number);
  for (const std::string& station : stations) {
    if (!rows::exists(db_, "SELECT 1 FROM station WHERE name = ?", station))
      rows::no_such_station(db_, station);
    run(db_, "INSERT OR REPLACE INTO version_test(image, number, station) VALUES(?, ?, ?)", image,
        number, station);
  }
  run(db_, "UPDATE image SET changed = ? WHERE name = ?", std::time(nullptr), image);
  transaction.commit();
  events_.add(Topic::images, "version tested", image, std::to_string(number));
}

void Catalogue::comment_version(const std::string& image, unsigned number,
                                const std::string& comment) {
  rows::require_text("the comment", comment);
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_version(db_, image, number);
  run(db_, "UPDATE version SET comment = ? WHERE image = ? AND number = ?", comment, image, number);
  run(db_, "UPDATE image SET changed = ? WHERE name = ?", std::time(nullptr), image);
  transaction.commit();
  events_.add(Topic::images, "version changed", image, std::to_string(number));
}

void Catalogue::remove_version(const std::string& image, unsigned number,
                               const std::string& session) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  const VersionRecord version = find_version(db_, image, number);
  require_unused(db_, version, session);
  if (!session.empty()) remove_session_rows(db_, session);
  pass_base_on(db_, version);
  run(db_, "DELETE FROM version WHERE image = ? AND number = ?", image, number);
  remove_unused_layers(db_, image);
  run(db_, "UPDATE image SET changed = ? WHERE name = ?", std::time(nullptr), image);
  transaction.commit();
  if (!session.empty()) events_.add(Topic::sessions, "removed", session);
  events_.add(Topic::layers, "removed", "", "of " + name_of(image, number));
  events_.add(Topic::images, "version removed", image, std::to_string(number));
}

void Catalogue::merge_layers(const std::string& image, const std::vector<std::string>& merged,
                             const std::optional<LayerRecord>& layer,
                             const std::vector<unsigned>& retired) {
  const auto changed = [&] {
    return Error(EAGAIN, "the versions of image " + quote(image) + " have changed meanwhile");
  };
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_image(db_, image);
  for (const unsigned number : retired) {
    const VersionRecord version = find_version(db_, image, number);
    if (version.state != "frozen" || !version.testers.empty()) throw changed();
    pass_base_on(db_, version);
    run(db_, "UPDATE version SET state = 'retired' WHERE image = ? AND number = ?", image, number);
  }
  if (layer) {
    put_records(db_, image, {*layer});
    std::vector<VersionRecord> with;
    for (Statement row = prepare(db_, std::string(select_versions) + "WHERE image = ?", image);
         row.step();) {
      VersionRecord version = read_version(db_, row);
      const auto found =
          std::search(version.layers.begin(), version.layers.end(), merged.begin(), merged.end());
      if (found == version.layers.end()) continue;
      const auto at =
          version.layers.erase(found, found + static_cast<std::ptrdiff_t>(merged.size()));
      version.layers.insert(at, layer->uuid);
      with.push_back(version);
    }
    if (with.empty()) throw changed();
    for (const VersionRecord& version : with) put_layers(db_, version);
  }
  run(db_, "UPDATE image SET changed = ? WHERE name = ?", std::time(nullptr), image);
  remove_unused_layers(db_, image);
  transaction.commit();
  if (layer) events_.add(Topic::layers, "added", layer->uuid);
  events_.add(Topic::images, "versions merged", image);
}

std::vector<VersionRecord> Catalogue::unused_versions() {
  const std::lock_guard lock(mutex_);
  std::vector<VersionRecord> versions;
  Statement row(db_, std::string(select_versions) +
                         "WHERE state = 'retired' AND NOT EXISTS(SELECT 1 FROM session "
                         "WHERE session.image = version.image AND session.version = number)");
  while (row.step()) versions.push_back(read_version(db_, row));
  return versions;
}

}  // namespace plydisk
