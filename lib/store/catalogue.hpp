// What the store knows: images, versions, layers, stations, sessions, parameters. An SQLite file,
// STORE/catalogue.sqlite; every change is one transaction, durable when the call returns.
//
// Thread safety: all public functions may be called from any thread; one mutex serializes them.
// The catalogue keeps records. It neither opens nor removes data files, and knows no live session.
// Times are seconds since 1970, UTC. Sizes are bytes. Functions throw Error: ENOENT for what is
// unknown, EEXIST for a name taken, EBUSY for what is in use, EINVAL for bad values, all with
// a sentence that names the thing and says what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/sqlite.hpp"
#include "multicast/terms.hpp"
#include "store/destination.hpp"
#include "store/event_log.hpp"
#include "store/foundation.hpp"

namespace plydisk {

// Raised when a store cannot be read by older programs; newer ones are refused (EPROTONOSUPPORT).
inline constexpr int store_format = 8;

// A server's store has images for many stations. A station's has one image, the export of a server,
// and one session on it, whose layers are the station's own; its writes to "server-…" and "direct"
// pass through to the server.
enum class StoreRole { server, station };

struct ImageRecord {
  std::string name;
  std::string uuid;  // at a station: the server's
  std::uint64_t size = 0;
  std::string backing;  // path of the backing, absolute, or relative to the store
  bool linked = false;  // the backing lies outside the store and is not ours to remove
  std::string description;
  std::optional<WritePlan> writes;  // default of its sessions
  std::int64_t created = 0;
  std::int64_t changed = 0;  // when its record was last; kept by the catalogue
  unsigned published = 1;    // version number
  unsigned newest = 1;       // the number that was given to a version last, which may be gone
  // What the backing was when it was last ours: to notice changes behind our back.
  std::uint64_t backing_size = 0;
  std::int64_t backing_mtime_ns = 0;  // 0: not checked (block devices)
  bool backing_dirty = false;         // a `direct` session is or was writing: mtime proves nothing
  std::string writer;                 // as in Foundation::image_writer
};

struct VersionRecord {
  std::string image;
  unsigned number = 1;
  // "open": `station` writes to it, and it has the layers of its base; "frozen"; "published" (one
  // of each image: ImageRecord::published); "retired": merged into another, and gone once nobody
  // uses it.
  std::string state;
  // The version on which it was made or, when that is gone or retired, the next one that is below
  // it; 0: none.
  unsigned base = 0;
  std::string station;
  std::string comment;
  std::int64_t created = 0;          // when it was made, or frozen
  std::vector<std::string> layers;   // uuids, oldest first; none: the backing alone
  std::vector<std::string> testers;  // stations that get it already
};

// What of a station's layer is at its server: the writer, as in Foundation, of the last session
// that passed something on, past this layer, to the image itself and to the server's layers; empty:
// none.
struct Passed {
  std::string to_image, to_layers;
  bool operator==(const Passed&) const = default;
};

struct LayerRecord {
  std::string uuid;
  std::string image;
  // uuid of the layer on which it was made, which may have been folded away since; empty: the
  // version.
  std::string parent;
  std::string session;  // id of the session that it belongs to; empty for a version's
  int position = 0;     // in its session's stack, 0 is the oldest
  Destination destination = Destination::server_volatile;
  std::string kind;        // "data", "pass" (written directly), or "mixed" when both were merged
  Passed passed{};         // by "pass" and "mixed" layers
  std::string state;       // "writing" or "frozen"
  std::uint64_t size = 0;  // of the disk
  std::int64_t created = 0;
};

struct StationRecord {
  std::string name;
  std::optional<std::string> image;
  std::optional<WritePlan> writes;
  // What the station may choose itself besides what `writes` says, a list without sizes; none: all
  // but direct.
  std::optional<WritePlan> destinations;
  std::vector<std::string> allow;     // CIDRs; empty: from anywhere
  std::optional<std::string> secret;  // what is kept of it, see secret.hpp
  std::string proven;                 // the session token that came with proof of the secret last
  std::string comment;
  std::int64_t created = 0;
  std::int64_t changed = 0;  // kept by the catalogue
};

// One operating session, or, when `ended` is set, the persistent layers that it left for the next.
struct SessionRecord {
  std::string id;
  std::string station;  // empty: anonymous
  std::string image;
  unsigned version = 1;
  std::string token;  // from the export name, may be empty
  std::string peer;   // address of the last connection, or "unix"
  std::string boot;   // boot id of the server's machine when it was made
  Destination writes = Destination::server_volatile;  // where they go now
  WritePlan plan = Destination::server_volatile;      // and where they go when that is full
  std::int64_t started = 0;
  std::int64_t ended = 0;  // 0: live, or waiting for its station
  // At a server: who wrote to its persistent layers last. At a station: the session's own name as a
  // writer; what its layers lay on when it began; and its name in an attempt to carry them to the
  // server of which the end is not known, or empty.
  std::string writer;
  Foundation foundation{};
  std::string carrying;
  bool has_passed = false;  // at a station: something may have been written to the server
  bool on_station = false;  // at a server: its persistent layers lie on some at the station
};

struct HistoryRecord {
  std::int64_t at = 0;
  std::string event;  // "started", "redirected", "carried", "resumed", …
  std::string detail;
};

class Catalogue {
 public:
  // Creates STORE/catalogue.sqlite; EEXIST if there is one.
  static void create(const std::filesystem::path& store, StoreRole role = StoreRole::server);
  // Checks the database (quick_check) and its format. ENOENT tells to run `plydisk init`.
  explicit Catalogue(const std::filesystem::path& store);

  StoreRole role() const noexcept { return role_; }
  std::int64_t created() const noexcept { return created_; }
  // Every change is told there, once it is done.
  EventLog& events() noexcept { return events_; }

  // SQLite's integrity check: sentences about faults.
  std::vector<std::string> find_faults();

  std::vector<ImageRecord> images();
  std::optional<ImageRecord> find_image(const std::string& name);
  ImageRecord image(const std::string& name);  // ENOENT lists the nearest names
  // Adds the image together with its version 1.
  void add_image(const ImageRecord& image);
  // Reads the record, lets `change` alter it, and writes it back, with no other change in between.
  // Returns it as it is then.
  ImageRecord change_image(const std::string& name,
                           const std::function<void(ImageRecord&)>& change);
  // Removes it with its versions and their layers' records; EBUSY while sessions or stations refer
  // to it.
  void remove_image(const std::string& name);
  // Images whose folders may be removed, as doomed_layers().
  std::vector<std::string> doomed_images();
  void announce_image(const std::string& name);
  void forget_doomed_image(const std::string& name);

  std::vector<VersionRecord> versions(const std::string& image);
  VersionRecord version(const std::string& image, unsigned number);
  // Adds a version in one transaction, with the records of those of its layers that are new or were
  // a session's. Its number is the image's next, whatever the record says, and is returned. A
  // version added as "published" becomes the image's published one. EBUSY: another is open already.
  unsigned add_version(const VersionRecord& version, const std::vector<LayerRecord>& layers);
  // Makes an open version a frozen one with the layers that it has already and `layer`, which may
  // have been the session's, and removes its station's session, if that is named.
  void close_version(const std::string& image, unsigned number, const LayerRecord& layer,
                     const std::string& session);
  // EINVAL for an open one.
  void publish_version(const std::string& image, unsigned number);
  // Lets just these stations get the version before it is published. ENOENT: no such station.
  void test_version(const std::string& image, unsigned number,
                    const std::vector<std::string>& stations);
  void comment_version(const std::string& image, unsigned number, const std::string& comment);
  // Removes the version, and its session, if one is named. EBUSY: it is published, or others use
  // it.
  void remove_version(const std::string& image, unsigned number, const std::string& session = {});
  // Lets `layer`, if there is one, stand for those of `merged` (oldest first) in all versions that
  // have them one after the other, and retires these versions. EAGAIN: they have changed.
  void merge_layers(const std::string& image, const std::vector<std::string>& merged,
                    const std::optional<LayerRecord>& layer, const std::vector<unsigned>& retired);
  // Retired ones that no session is on any more.
  std::vector<VersionRecord> unused_versions();
  // The version that a station gets at its next session.
  unsigned version_for(const std::string& image, const std::string& station);
  // The version that is open for a station.
  std::optional<VersionRecord> open_version(const std::string& image);

  std::vector<LayerRecord> layers();
  std::optional<LayerRecord> find_layer(const std::string& uuid);
  // Layers whose files may be removed. Those that were removed from the catalogue are among them;
  // one that is about to be made is announced, so that a crash leaves no unknown files.
  std::vector<std::string> doomed_layers();
  void announce_layer(const std::string& uuid);
  void forget_doomed(const std::vector<std::string>& uuids);
  // The layers of a session's stack, oldest first.
  std::vector<LayerRecord> session_layers(const std::string& session);

  std::vector<StationRecord> stations();
  std::optional<StationRecord> find_station(const std::string& name);
  StationRecord station(const std::string& name);
  void add_station(const StationRecord& station);
  // As change_image(). EBUSY if it gets another image than the one that it has a version open of.
  StationRecord change_station(const std::string& name,
                               const std::function<void(StationRecord&)>& change);
  // Its sessions at rest go with it. EEXIST if the new name is taken; EBUSY while a session is
  // live.
  StationRecord rename_station(const std::string& name, const std::string& new_name);
  // EBUSY while a session is live or persistent layers lie here.
  void remove_station(const std::string& name);

  std::vector<SessionRecord> sessions();
  std::optional<SessionRecord> find_session(const std::string& id);
  // The session of this station on this image (live or ended), newest first.
  std::optional<SessionRecord> session_of(const std::string& station, const std::string& image);
  // In one transaction: inserts or replaces the session, sets its stack to `layers` (oldest first;
  // positions and parents are taken as given), removes the records of layers that it had and that
  // are not in `layers`, and adds to its history.
  void save_session(const SessionRecord& session, const std::vector<LayerRecord>& layers,
                    const std::vector<HistoryRecord>& events = {});
  // Notes SessionRecord::has_passed of a station's session, which stays until it is taken back
  // here.
  void note_passed(bool has_passed);
  // Removes the session, its layers' records and its history.
  void remove_session(const std::string& id);
  // When what is in each session's history happened last, by id.
  std::vector<std::pair<std::string, std::int64_t>> session_changes();
  // The last thousand events, oldest first.
  std::vector<HistoryRecord> history(const std::string& session);

  // Stored value, or the parameter's default.
  std::string parameter(const std::string& name);
  // When it was set last; if never, when the store was made.
  std::int64_t parameter_changed(const std::string& name);
  // Checks the name and the value first.
  void set_parameter(const std::string& name, const std::string& value);
  // An image's own value, if it has one. EINVAL for a parameter that images do not have.
  std::optional<std::string> image_parameter(const std::string& image, const std::string& name);
  // None: it has the store's again.
  void set_image_parameter(const std::string& image, const std::string& name,
                           const std::optional<std::string>& value);
  MulticastTerms multicast_terms(const std::string& image);

 private:
  void tell(const std::string& session, std::set<std::string> layers_before,
            const std::vector<LayerRecord>& layers, const std::vector<HistoryRecord>& events);

  std::mutex mutex_;
  Database db_;
  StoreRole role_ = StoreRole::server;
  std::int64_t created_ = 0;
  EventLog events_;
};

}  // namespace plydisk
