// Stations, and the sessions that they have with their stacks of layers.
#include <set>

#include "store/catalogue.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

// A station's list of networks is consulted at each connection.
constexpr std::size_t most_networks = 256;
// A session may be redirected thousands of times; what happened last is what is asked for.
constexpr int kept_history = 1000;

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
  Statement network = prepare(
      db, "SELECT network FROM station_allow WHERE station = ? ORDER BY position", station.name);
  while (network.step()) station.allow.push_back(network.text(0));
  return station;
}

constexpr const char* select_stations =
    "SELECT name, image, writes, destinations, secret, proven, comment, created FROM station ";

std::optional<StationRecord> find_station_row(Database& db, const std::string& name) {
  Statement row = prepare(db, std::string(select_stations) + "WHERE name = ?", name);
  if (!row.step()) return std::nullopt;
  return read_station(db, row);
}

[[noreturn]] void no_such_station(Database& db, const std::string& name) {
  std::vector<std::string> names;
  for (Statement row(db, "SELECT name FROM station ORDER BY name"); row.step();)
    names.push_back(row.text(0));
  throw Error(ENOENT, "there is no station " + quote(name) + suggestion(name, names));
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

constexpr const char* select_sessions =
    "SELECT id, station, image, version, token, peer, boot, writes, started, ended, plan, writer, "
    "foundation, carrying, has_passed, on_station FROM session ";

SessionRecord read_session(const Statement& row) {
  SessionRecord session;
  session.id = row.text(0);
  session.station = row.text(1);
  session.image = row.text(2);
  session.version = static_cast<unsigned>(row.integer(3));
  session.token = row.text(4);
  session.peer = row.text(5);
  session.boot = row.text(6);
  session.writes = parse_destination(row.text(7));
  session.started = row.integer(8);
  session.ended = row.integer(9);
  session.plan = WritePlan(row.text(10));
  session.writer = row.text(11);
  session.foundation = parse_foundation(row.text(12));
  session.carrying = row.text(13);
  session.has_passed = row.integer(14) != 0;
  session.on_station = row.integer(15) != 0;
  return session;
}

void require_sound(const SessionRecord& session) {
  require_valid_name("session", session.id);
  if (!session.station.empty()) require_valid_name("station", session.station);
  if (!session.token.empty()) require_valid_name("session", session.token);
  rows::require_text("the peer's address", session.peer);
}

void add_history(Database& db, const std::string& session, const HistoryRecord& event) {
  rows::require_text("the event", event.event);
  rows::require_text("the event's detail", event.detail);
  run(db, "INSERT INTO history(session, at, event, detail) VALUES(?, ?, ?, ?)", session, event.at,
      event.event, event.detail);
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
  no_such_station(db_, name);
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
      "INSERT INTO station(name, image, writes, destinations, secret, proven, comment, created) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
      station.name, station.image, station.writes, station.destinations, station.secret,
      station.proven, station.comment, station.created);
  write_networks(db_, station);
  transaction.commit();
}

StationRecord Catalogue::change_station(const std::string& name,
                                        const std::function<void(StationRecord&)>& change) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  std::optional<StationRecord> station = find_station_row(db_, name);
  if (!station) no_such_station(db_, name);
  change(*station);
  require_sound(*station);
  if (station->image) rows::require_image(db_, *station->image);
  run(db_,
      "UPDATE station SET image = ?, writes = ?, destinations = ?, secret = ?, proven = ?, "
      "comment = ?, created = ? WHERE name = ?",
      station->image, station->writes, station->destinations, station->secret, station->proven,
      station->comment, station->created, name);
  write_networks(db_, *station);
  transaction.commit();
  return *station;
}

void Catalogue::remove_station(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  if (!find_station_row(db_, name)) no_such_station(db_, name);
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
}

std::vector<SessionRecord> Catalogue::sessions() {
  const std::lock_guard lock(mutex_);
  std::vector<SessionRecord> sessions;
  Statement row(db_, std::string(select_sessions) + "ORDER BY started, id");
  while (row.step()) sessions.push_back(read_session(row));
  return sessions;
}

std::optional<SessionRecord> Catalogue::find_session(const std::string& id) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_, std::string(select_sessions) + "WHERE id = ?", id);
  if (!row.step()) return std::nullopt;
  return read_session(row);
}

std::optional<SessionRecord> Catalogue::session_of(const std::string& station,
                                                   const std::string& image) {
  const std::lock_guard lock(mutex_);
  Statement row = prepare(db_,
                          std::string(select_sessions) +
                              "WHERE station = ? AND image = ? ORDER BY started DESC, rowid DESC",
                          station, image);
  if (!row.step()) return std::nullopt;
  return read_session(row);
}

std::vector<LayerRecord> Catalogue::session_layers(const std::string& session) {
  const std::lock_guard lock(mutex_);
  std::vector<LayerRecord> layers;
  Statement row = prepare(
      db_, std::string(rows::select_layers) + "WHERE session = ? ORDER BY position", session);
  while (row.step()) layers.push_back(rows::read_layer(row));
  return layers;
}

void Catalogue::save_session(const SessionRecord& session, const std::vector<LayerRecord>& layers,
                             const std::vector<HistoryRecord>& events) {
  require_sound(session);
  std::set<int> positions;
  for (const LayerRecord& layer : layers) {
    rows::require_layer_of(layer, session.image);
    if (layer.session != session.id || !positions.insert(layer.position).second)
      throw Error(EINVAL, "the layer " + quote(layer.uuid) +
                              " has no place of its own in session " + session.id);
  }
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  rows::require_version(db_, session.image, session.version);
  run(db_,
      "INSERT INTO session(id, station, image, version, token, peer, boot, writes, started, ended, "
      "plan, writer, foundation, carrying, has_passed, "
      "on_station) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT(id) DO UPDATE SET "
      "station = excluded.station, image = excluded.image, version = excluded.version, "
      "token = excluded.token, peer = excluded.peer, boot = excluded.boot, "
      "writes = excluded.writes, started = excluded.started, ended = excluded.ended, "
      "plan = excluded.plan, writer = excluded.writer, foundation = excluded.foundation, "
      "carrying = excluded.carrying, has_passed = max(has_passed, excluded.has_passed), "
      "on_station = excluded.on_station",
      session.id, session.station, session.image, session.version, session.token, session.peer,
      session.boot, session.writes, session.started, session.ended, session.plan, session.writer,
      to_string(session.foundation), session.carrying, session.has_passed, session.on_station);
  // Positions move when layers are merged, so the stack is written anew.
  run(db_, "DELETE FROM layer WHERE session = ?", session.id);
  for (const LayerRecord& layer : layers) rows::insert_layer(db_, layer);
  for (const HistoryRecord& event : events) add_history(db_, session.id, event);
  if (!events.empty())
    run(db_,
        "DELETE FROM history WHERE session = ?1 AND id <= (SELECT id FROM history WHERE "
        "session = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        session.id, kept_history);
  transaction.commit();
}

void Catalogue::note_passed(bool has_passed) {
  const std::lock_guard lock(mutex_);
  run(db_, "UPDATE session SET has_passed = ?", has_passed);
}

void Catalogue::remove_session(const std::string& id) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  run(db_, "DELETE FROM layer WHERE session = ?", id);
  if (run(db_, "DELETE FROM session WHERE id = ?", id) == 0)
    throw Error(ENOENT, "there is no session " + quote(id) +
                            ": \"plydisk session list\" shows those that there are");
  transaction.commit();
}

std::vector<HistoryRecord> Catalogue::history(const std::string& session) {
  const std::lock_guard lock(mutex_);
  std::vector<HistoryRecord> history;
  Statement row =
      prepare(db_, "SELECT at, event, detail FROM history WHERE session = ? ORDER BY id", session);
  while (row.step()) history.push_back({row.integer(0), row.text(1), row.text(2)});
  return history;
}

}  // namespace plydisk
