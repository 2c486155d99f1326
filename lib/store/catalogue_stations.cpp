// Stations, as the administrator knows them.
#include <ctime>

#include "store/catalogue.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

// A station's list of networks is consulted at each connection.
constexpr std::size_t most_networks = 256;

StationRecord read_station(Database& db, const Statement& row) {
  StationRecord station;
  station.name = row.text(0);
  station.image = row.optional_text(1);
  if (!row.is_null(2)) station.writes = WritePlan(row.text(2));
  if (!row.is_null(3)) station.destinations = WritePlan(row.text(3));
  station.secret = row.optional_text(4);
  station.proven = row.text(5);
  station.comment = row.text(6);
  station.created = row.integer(7);
  station.changed = row.integer(8);
  Statement network = prepare(
      db, "SELECT network FROM station_allow WHERE station = ? ORDER BY position", station.name);
  while (network.step()) station.allow.push_back(network.text(0));
  return station;
}

constexpr const char* select_stations =
    "SELECT name, image, writes, destinations, secret, proven, comment, created, changed FROM "
    "station ";

std::optional<StationRecord> find_station_row(Database& db, const std::string& name) {
  Statement row = prepare(db, std::string(select_stations) + "WHERE name = ?", name);
  if (!row.step()) return std::nullopt;
  return read_station(db, row);
}

void require_sound(const StationRecord& station) {
  require_valid_name("station", station.name);
  rows::require_text("the comment", station.comment);
  if (station.allow.size() > most_networks)
    throw Error(EINVAL, "a station takes at most 256 networks: join some of them");
  for (const std::string& network : station.allow) require_valid_cidr(network);
  if (station.destinations)
    for (const auto& step : station.destinations->steps())
      if (step.limit)
        throw Error(EINVAL, "what a station may choose takes no sizes: " +
                                to_string(*station.destinations));
}

void write_networks(Database& db, const StationRecord& station) {
  run(db, "DELETE FROM station_allow WHERE station = ?", station.name);
  int position = 0;
  for (const std::string& network : station.allow)
    run(db, "INSERT INTO station_allow(station, position, network) VALUES(?, ?, ?)", station.name,
        position++, network);
}

// Versions that only this station can write. `image`: but of this one.
void require_none_open(Database& db, const std::string& station, const std::string& image) {
  Statement open = prepare(db, "SELECT image, number FROM version WHERE station = ? AND image <> ?",
                           station, image);
  if (open.step())
    throw Error(EBUSY, "version " + std::to_string(open.integer(1)) + " of image " +
                           quote(open.text(0)) + " is open for the station " + quote(station) +
                           ": close or discard it first");
}

}  // namespace

std::vector<StationRecord> Catalogue::stations() {
  const std::lock_guard lock(mutex_);
  std::vector<StationRecord> stations;
  Statement row(db_, std::string(select_stations) + "ORDER BY name");
  while (row.step()) stations.push_back(read_station(db_, row));
  return stations;
}

std::optional<StationRecord> Catalogue::find_station(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return find_station_row(db_, name);
}

StationRecord Catalogue::station(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (auto station = find_station_row(db_, name)) return *station;
  rows::no_such_station(db_, name);
}

void Catalogue::add_station(const StationRecord& station) {
  require_sound(station);
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  if (find_station_row(db_, station.name))
    throw Error(EEXIST, "there is a station " + quote(station.name) +
                            " already: change it with \"plydisk station set\"");
  if (station.image) rows::require_image(db_, *station.image);
  run(db_,
      "INSERT INTO station(name, image, writes, destinations, secret, proven, comment, created, "
      "changed) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
      station.name, station.image, station.writes, station.destinations, station.secret,
      station.proven, station.comment, station.created, station.changed);
  write_networks(db_, station);
  transaction.commit();
  events_.add(Topic::stations, "added", station.name);
}

StationRecord Catalogue::change_station(const std::string& name,
                                        const std::function<void(StationRecord&)>& change) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  std::optional<StationRecord> station = find_station_row(db_, name);
  if (!station) rows::no_such_station(db_, name);
  change(*station);
  station->changed = std::time(nullptr);
  require_sound(*station);
  if (station->image) {
    rows::require_image(db_, *station->image);
    require_none_open(db_, name, *station->image);
  }
  run(db_,
      "UPDATE station SET image = ?, writes = ?, destinations = ?, secret = ?, proven = ?, "
      "comment = ?, created = ?, changed = ? WHERE name = ?",
      station->image, station->writes, station->destinations, station->secret, station->proven,
      station->comment, station->created, station->changed, name);
  write_networks(db_, *station);
  transaction.commit();
  events_.add(Topic::stations, "changed", name);
  return *station;
}

void Catalogue::remove_station(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  if (!find_station_row(db_, name)) rows::no_such_station(db_, name);
  require_none_open(db_, name, "");
  Statement row = prepare(db_,
                          "SELECT id, ended FROM session WHERE station = ?1 AND (ended = 0 OR "
                          "EXISTS(SELECT 1 FROM layer WHERE layer.session = session.id))",
                          name);
  if (row.step())
    throw Error(EBUSY,
                "the station " + quote(name) +
                    (row.integer(1) == 0 ? " has the session " + row.text(0) + ": end it first"
                                         : " has persistent writes in the session " + row.text(0) +
                                               ": discard them first, with \"plydisk session end " +
                                               row.text(0) + " --discard\""));
  // What is left of its sessions holds nothing.
  run(db_, "DELETE FROM session WHERE station = ?", name);
  run(db_, "DELETE FROM station WHERE name = ?", name);
  transaction.commit();
  events_.add(Topic::stations, "removed", name);
  events_.add(Topic::sessions, "removed", "", "of station " + name);
}

StationRecord Catalogue::rename_station(const std::string& name, const std::string& new_name) {
  require_valid_name("station", new_name);
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  std::optional<StationRecord> station = find_station_row(db_, name);
  if (!station) rows::no_such_station(db_, name);
  if (name == new_name) return *station;
  if (find_station_row(db_, new_name))
    throw Error(EEXIST, "there is a station " + quote(new_name) + " already");
  if (Statement row = prepare(db_, "SELECT id FROM session WHERE station = ? AND ended = 0", name);
      row.step())
    throw Error(
        EBUSY, "the station " + quote(name) + " has the session " + row.text(0) + ": end it first");
  // Of one that was served without being added.
  if (Statement row = prepare(db_, "SELECT id FROM session WHERE station = ?", new_name);
      row.step())
    throw Error(EBUSY, "the session " + row.text(0) + " belongs to a station " + quote(new_name) +
                           ": discard it first, with \"plydisk session end " + row.text(0) +
                           " --discard\"");
  station->name = new_name;
  station->changed = std::time(nullptr);
  // Networks refer to the name.
  run(db_, "PRAGMA defer_foreign_keys=ON");
  run(db_, "UPDATE station SET name = ?, changed = ? WHERE name = ?", new_name, station->changed,
      name);
  run(db_, "UPDATE station_allow SET station = ? WHERE station = ?", new_name, name);
  run(db_, "UPDATE version SET station = ? WHERE station = ?", new_name, name);
  run(db_, "UPDATE version_test SET station = ? WHERE station = ?", new_name, name);
  run(db_, "UPDATE session SET station = ? WHERE station = ?", new_name, name);
  transaction.commit();
  events_.add(Topic::stations, "renamed", new_name, name);
  events_.add(Topic::sessions, "changed", "", "of station " + new_name);
  return *station;
}

}  // namespace plydisk
