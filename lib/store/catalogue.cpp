#include "store/catalogue.hpp"

#include <fcntl.h>

#include <ctime>

#include "base/file.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"
#include "store/parameters.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

constexpr const char* schema = R"(
CREATE TABLE meta(
  key TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE image(
  uuid TEXT NOT NULL UNIQUE CHECK(length(uuid) = 36 AND uuid NOT GLOB '*[^0-9a-f-]*'),
  name TEXT NOT NULL PRIMARY KEY
    CHECK(length(name) BETWEEN 1 AND 64 AND name NOT GLOB '*[^A-Za-z0-9._-]*'),
  size INTEGER NOT NULL CHECK(size > 0 AND size % 512 = 0),
  backing TEXT NOT NULL CHECK(backing <> ''),
  linked INTEGER NOT NULL CHECK(linked IN (0, 1)),
  description TEXT NOT NULL,
  writes TEXT,
  created INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  published INTEGER NOT NULL,
  newest INTEGER NOT NULL CHECK(newest >= published),  -- number that was given out last
  backing_size INTEGER NOT NULL CHECK(backing_size >= 0),
  backing_mtime_ns INTEGER NOT NULL,
  backing_dirty INTEGER NOT NULL CHECK(backing_dirty IN (0, 1)),
  writer TEXT NOT NULL,
  FOREIGN KEY(name, published) REFERENCES version(image, number) DEFERRABLE INITIALLY DEFERRED
) STRICT;

-- Images whose folders may be removed, as with layers in `doomed` below.
CREATE TABLE doomed_image(image TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TRIGGER image_gone AFTER DELETE ON image
  BEGIN INSERT OR IGNORE INTO doomed_image VALUES(old.name); END;
CREATE TRIGGER image_there AFTER INSERT ON image
  BEGIN DELETE FROM doomed_image WHERE image = new.name; END;

-- `base`: the version on which it was made or, when that is gone or retired, the next one that is
-- below it; 0: none. An open version has the layers of the version that it was opened on, and a
-- session of its station that writes what it will have besides.
CREATE TABLE version(
  image TEXT NOT NULL REFERENCES image(name) ON DELETE CASCADE,
  number INTEGER NOT NULL CHECK(number >= 1),
  state TEXT NOT NULL CHECK(state IN ('open', 'frozen', 'retired')),
  base INTEGER NOT NULL CHECK(base < number),
  station TEXT REFERENCES station(name) CHECK((station IS NULL) <> (state = 'open')),
  comment TEXT NOT NULL,
  created INTEGER NOT NULL,
  PRIMARY KEY(image, number)
) STRICT;
CREATE INDEX version_by_station ON version(station);

-- Stations that get a version before it is published.
CREATE TABLE version_test(
  image TEXT NOT NULL,
  number INTEGER NOT NULL,
  station TEXT NOT NULL REFERENCES station(name) ON DELETE CASCADE,
  PRIMARY KEY(image, station),
  FOREIGN KEY(image, number) REFERENCES version(image, number) ON DELETE CASCADE
) STRICT;
CREATE INDEX version_test_by_version ON version_test(image, number);
CREATE INDEX version_test_by_station ON version_test(station);

CREATE TABLE session(
  id TEXT NOT NULL PRIMARY KEY
    CHECK(length(id) BETWEEN 1 AND 64 AND id NOT GLOB '*[^A-Za-z0-9._-]*'),
  station TEXT NOT NULL CHECK(length(station) <= 64 AND station NOT GLOB '*[^A-Za-z0-9._-]*'),
  image TEXT NOT NULL,
  version INTEGER NOT NULL,
  token TEXT NOT NULL,
  peer TEXT NOT NULL,
  boot TEXT NOT NULL,
  writes TEXT NOT NULL REFERENCES destination(name),
  plan TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  writer TEXT NOT NULL,
  foundation TEXT NOT NULL,
  carrying TEXT NOT NULL,
  has_passed INTEGER NOT NULL CHECK(has_passed IN (0, 1)),
  on_station INTEGER NOT NULL CHECK(on_station IN (0, 1)),
  FOREIGN KEY(image, version) REFERENCES version(image, number)
) STRICT;
CREATE INDEX session_by_station ON session(station, image);
CREATE INDEX session_by_version ON session(image, version);

-- A layer belongs to one session, or to the versions that list it.
CREATE TABLE layer(
  uuid TEXT NOT NULL PRIMARY KEY CHECK(length(uuid) = 36 AND uuid NOT GLOB '*[^0-9a-f-]*'),
  image TEXT NOT NULL REFERENCES image(name) DEFERRABLE INITIALLY DEFERRED,
  parent TEXT CHECK(parent <> uuid),
  session TEXT REFERENCES session(id) DEFERRABLE INITIALLY DEFERRED,
  position INTEGER NOT NULL CHECK(position >= 0),
  destination TEXT NOT NULL REFERENCES destination(name),
  kind TEXT NOT NULL CHECK(kind IN ('data', 'pass', 'mixed')),
  passed_to_image TEXT NOT NULL,
  passed_to_layers TEXT NOT NULL,
  state TEXT NOT NULL CHECK(state IN ('writing', 'frozen')),
  size INTEGER NOT NULL CHECK(size > 0 AND size % 512 = 0),
  created INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX layer_by_session ON layer(session, position) WHERE session IS NOT NULL;
CREATE INDEX layer_by_image ON layer(image);
CREATE INDEX layer_by_parent ON layer(parent);

-- Layers whose files may be removed: those that were being made when a crash came, and those whose
-- records are gone. What is in neither table is somebody else's.
CREATE TABLE doomed(layer TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TRIGGER layer_gone AFTER DELETE ON layer
  BEGIN INSERT OR IGNORE INTO doomed VALUES(old.uuid); END;
CREATE TRIGGER layer_there AFTER INSERT ON layer
  BEGIN DELETE FROM doomed WHERE layer = new.uuid; END;

CREATE TABLE version_layer(
  image TEXT NOT NULL,
  number INTEGER NOT NULL,
  position INTEGER NOT NULL CHECK(position >= 0),
  layer TEXT NOT NULL REFERENCES layer(uuid) DEFERRABLE INITIALLY DEFERRED,
  PRIMARY KEY(image, number, position),
  UNIQUE(image, number, layer),
  FOREIGN KEY(image, number) REFERENCES version(image, number) ON DELETE CASCADE
) STRICT;
CREATE INDEX version_layer_by_layer ON version_layer(layer);

CREATE TABLE station(
  name TEXT NOT NULL PRIMARY KEY
    CHECK(length(name) BETWEEN 1 AND 64 AND name NOT GLOB '*[^A-Za-z0-9._-]*'),
  image TEXT REFERENCES image(name),
  writes TEXT,
  destinations TEXT,
  secret TEXT,
  proven TEXT NOT NULL,
  comment TEXT NOT NULL,
  created INTEGER NOT NULL,
  changed INTEGER NOT NULL
) STRICT;
CREATE INDEX station_by_image ON station(image);

CREATE TABLE station_allow(
  station TEXT NOT NULL REFERENCES station(name) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK(position >= 0),
  network TEXT NOT NULL CHECK(network <> ''),
  PRIMARY KEY(station, position)
) STRICT;

CREATE TABLE history(
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_session ON history(session, id);

CREATE TABLE parameter(
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL,
  changed INTEGER NOT NULL
) STRICT;

-- Of images that differ from the store.
CREATE TABLE image_parameter(
  image TEXT NOT NULL REFERENCES image(name) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY(image, name)
) STRICT;

CREATE TABLE destination(name TEXT NOT NULL PRIMARY KEY) STRICT;
INSERT INTO destination VALUES
  ('direct'), ('server-volatile'), ('server-persistent'),
  ('client-ram'), ('client-volatile'), ('client-persistent');
)";

std::filesystem::path catalogue_path(const std::filesystem::path& store) {
  return store / "catalogue.sqlite";
}

// For its owner alone, as SQLite's log beside it will then be. One that exists is not even opened:
// closing it would drop the locks of a connection to it in this process.
void make_private_file(const std::filesystem::path& path) {
  try {
    File::open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  } catch (const Error& error) {
    if (error.code() != EEXIST) throw;
  }
}

// For the life of the connection. Nothing is written before the format is known to be ours.
void set_up_connection(Database& db) {
  db.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
}

void use_wal(Database& db, const std::filesystem::path& path) {
  Statement mode(db, "PRAGMA journal_mode=WAL");
  if (!mode.step() || mode.text(0) != "wal")
    throw Error(ENOTSUP, "SQLite cannot keep a write-ahead log for " + path.string() +
                             ": move the store to a file system that allows it");
}

// A catalogue whose making was cut short has no tables at all.
bool is_blank(Database& db) { return !rows::exists(db, "SELECT 1 FROM sqlite_master"); }

void require_known_format(Database& db, const std::filesystem::path& path) {
  if (!rows::exists(db, "SELECT 1 FROM sqlite_master WHERE type='table' AND name='meta'"))
    throw Error(EUCLEAN, path.string() + " is not the catalogue of a plydisk store");
  Statement row(db, "SELECT value FROM meta WHERE key='format'");
  const std::string text = row.step() ? row.text(0) : "";
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos)
    throw Error(EUCLEAN, path.string() + " is damaged: its format number is " + quote(text));
  const int format = std::stoi(text);
  if (format < store_format)
    throw Error(EPROTONOSUPPORT, "the store in " + path.parent_path().string() +
                                     " was made by a plydisk before its first release, and has "
                                     "format " +
                                     text + ": make a new one, and its images from the old disks");
  if (format > store_format)
    throw Error(EPROTONOSUPPORT, "the store in " + path.parent_path().string() + " has format " +
                                     text + ", and this plydisk knows formats up to " +
                                     std::to_string(store_format) + ": use a newer plydisk");
}

}  // namespace

void Catalogue::create(const std::filesystem::path& store, StoreRole role) {
  const std::filesystem::path path = catalogue_path(store);
  make_private_file(path);
  Database db = Database::open(path, Database::Mode::create);
  set_up_connection(db);
  if (!is_blank(db)) throw Error(EEXIST, "there is a store in " + store.string() + " already");
  use_wal(db, path);
  Transaction transaction(db);
  db.exec(schema);
  run(db, "INSERT INTO meta VALUES('format', ?)", std::to_string(store_format));
  run(db, "INSERT INTO meta VALUES('created', ?)", std::to_string(std::time(nullptr)));
  run(db, "INSERT INTO meta VALUES('role', ?)",
      std::string_view(role == StoreRole::station ? "station" : "server"));
  transaction.commit();
  db.close();
  sync_directory(store);
}

Catalogue::Catalogue(const std::filesystem::path& store) {
  const std::filesystem::path path = catalogue_path(store);
  const auto missing = [&] {
    return Error(ENOENT, "there is no store in " + store.string() +
                             ": make one with \"plydisk init\", or name its folder with --store");
  };
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    if (error) throw_errno(error.value(), "cannot open " + path.string());
    throw missing();
  }
  db_ = Database::open(path, Database::Mode::read_write);
  set_up_connection(db_);
  if (is_blank(db_)) throw missing();
  require_known_format(db_, path);
  db_.check();
  if (rows::exists(db_, "PRAGMA foreign_key_check"))
    throw Error(EUCLEAN, path.string() + " is damaged: it has records that refer to missing ones");
  use_wal(db_, path);
  if (rows::exists(db_, "SELECT 1 FROM meta WHERE key='role' AND value='station'"))
    role_ = StoreRole::station;
  Statement made(db_, "SELECT value FROM meta WHERE key='created'");
  if (made.step()) created_ = std::stoll(made.text(0));
}

std::vector<std::string> Catalogue::find_faults() {
  const std::lock_guard lock(mutex_);
  return db_.find_faults();
}

std::string Catalogue::parameter(const std::string& name) {
  const ParameterSpec& spec = parameter_spec(name);
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_, "SELECT value FROM parameter WHERE name = ?", name);
  return row.step() ? row.text(0) : spec.default_value;
}

void Catalogue::set_parameter(const std::string& name, const std::string& value) {
  parameter_spec(name).check(value);
  const std::lock_guard lock(mutex_);
  run(db_, "INSERT OR REPLACE INTO parameter VALUES(?, ?, ?)", name, value, std::time(nullptr));
  events_.add(Topic::parameters, "changed", name, value);
}

std::optional<std::string> Catalogue::image_parameter(const std::string& image,
                                                      const std::string& name) {
  if (!parameter_spec(name).of_image)
    throw Error(EINVAL, "the parameter " + quote(name) + " is the whole store's, and no image's");
  const std::lock_guard lock(mutex_);
  rows::require_image(db_, image);
  Statement row =
      prepare(db_, "SELECT value FROM image_parameter WHERE image = ? AND name = ?", image, name);
  return row.step() ? std::optional(row.text(0)) : std::nullopt;
}

void Catalogue::set_image_parameter(const std::string& image, const std::string& name,
                                    const std::optional<std::string>& value) {
  image_parameter(image, name);
  if (value) parameter_spec(name).check(*value);
  const std::lock_guard lock(mutex_);
  rows::require_image(db_, image);
  if (value)
    run(db_, "INSERT OR REPLACE INTO image_parameter VALUES(?, ?, ?)", image, name, *value);
  else
    run(db_, "DELETE FROM image_parameter WHERE image = ? AND name = ?", image, name);
  events_.add(Topic::images, "changed", image);
}

MulticastTerms Catalogue::multicast_terms(const std::string& image) {
  return plydisk::multicast_terms([&](const char* name) {
    const auto own = image_parameter(image, name);
    return own ? *own : parameter(name);
  });
}

std::int64_t Catalogue::parameter_changed(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_, "SELECT changed FROM parameter WHERE name = ?", name);
  return row.step() ? row.integer(0) : created_;
}

}  // namespace plydisk
