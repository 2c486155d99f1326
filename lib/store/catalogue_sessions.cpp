// The sessions that stations have, with their stacks of layers.
#include <algorithm>
#include <set>

#include "store/catalogue.hpp"
#include "store/catalogue_rows.hpp"
#include "store/names.hpp"

namespace plydisk {

using rows::prepare;
using rows::run;

namespace {

// A session may be redirected thousands of times; what happened last is what is asked for.
constexpr int kept_history = 1000;

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
  std::set<std::string> before;
  for (Statement row = prepare(db_, "SELECT uuid FROM layer WHERE session = ?", session.id);
       row.step();)
    before.insert(row.text(0));
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
  tell(session.id, before, layers, events);
}

// What a session's change was.
void Catalogue::tell(const std::string& session, std::set<std::string> layers_before,
                     const std::vector<LayerRecord>& layers,
                     const std::vector<HistoryRecord>& events) {
  for (const LayerRecord& layer : layers)
    if (layers_before.erase(layer.uuid) == 0)
      events_.add(Topic::layers, "added", layer.uuid, to_string(layer.destination));
  for (const std::string& uuid : layers_before) events_.add(Topic::layers, "removed", uuid);
  if (events.empty()) events_.add(Topic::sessions, "changed", session);
  for (const HistoryRecord& event : events)
    events_.add(Topic::sessions, event.event, session, event.detail);
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
  events_.add(Topic::layers, "removed", "", "of session " + id);
  events_.add(Topic::sessions, "removed", id);
}

std::vector<std::pair<std::string, std::int64_t>> Catalogue::session_changes() {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, std::int64_t>> changes;
  Statement row(db_,
                "SELECT id, (SELECT at FROM history WHERE session = session.id ORDER BY "
                "history.id DESC LIMIT 1) FROM session");
  while (row.step())
    if (!row.is_null(1)) changes.emplace_back(row.text(0), row.integer(1));
  return changes;
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
