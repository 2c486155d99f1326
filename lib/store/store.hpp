// A store: a folder that holds images, layers and the catalogue, open in one process at a time.
//
//   STORE/lock               flock'ed by the process that has the store open; holds its pid
//   STORE/catalogue.sqlite   records
//   STORE/control            the server's control socket
//   STORE/images/NAME/disk   the backing of an image that was copied in or made
//   STORE/layers/UUID/       data, map, index.sqlite
//   STORE/captures/NAME/     a disk that is being copied or made, by a program of its own
//
// The administrator's verbs are here, each one transaction; so is the door for stations: connect().
// Thread safety: every function may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backing/nbd_backing.hpp"
#include "base/progress.hpp"
#include "stack/chunk_hashes.hpp"
#include "store/catalogue.hpp"
#include "store/names.hpp"
#include "store/own_layers.hpp"
#include "store/upstream.hpp"
#include "store/version_upload.hpp"
#include "store/version_verbs.hpp"

namespace plydisk {

class Disk;
class Gate;
struct Stack;

struct StoreOptions {
  bool serve = false;  // sessions live here: background work runs, grace is counted
  // Of a station's store: a folder in memory (tmpfs) for the layers of client-ram, empty for none;
  // and whether the store lies on a disk, so that it may hold those of client-volatile and
  // -persistent.
  std::filesystem::path memory;
  bool keeps_files = true;
  // Null if the server is not plydisk's, which can only be written directly.
  std::shared_ptr<Upstream> upstream;
  std::function<void(const std::string&)> log;  // what an administrator should know; may be empty
  // Of a station's store: puts something between its layers and the server's disk. May be empty.
  std::function<std::shared_ptr<Backing>(std::shared_ptr<Backing> server)> over_server;
  // Whether to refuse a station's store (EAGAIN), which nobody but its engine may work on.
  bool refuse_station = false;
  // How long to wait for another process that has the store.
  std::chrono::milliseconds lock_patience{0};
  std::string boot_id;  // empty: the machine's; tests set it to play a reboot
  NbdOptions nbd;       // for images whose backing is another server's
};

struct Peer {
  bool local = true;    // a Unix socket or a loopback address
  std::string address;  // numeric, or "unix"
  // The firmware of a station, for which an administrator's program on this machine speaks.
  bool is_firmware = false;
};
inline Peer firmware_peer() { return {true, "firmware", true}; }

struct ImageStatus {
  ImageRecord record;
  std::string state;            // "ok", or the sentence that says why it is refused
  std::uint64_t allocated = 0;  // bytes of the backing and of all layers of its versions
  unsigned sessions = 0;        // live ones
};

struct SessionStatus {
  SessionRecord record;
  std::string trouble;      // with the server that its image comes from; empty: none
  std::string state;        // "live", "waiting" (no connection, in its grace), "at-rest"
  bool persistent = false;  // whether what is written now survives
  unsigned connections = 0;
  std::vector<std::string> layers;  // uuids, newest first
  // The version that its station gets at its next session, if it keeps no writes; and whether it is
  // another one than this session's, and the station keeps writes.
  unsigned next_version = 0;
  bool is_stale = false;
  std::uint64_t bytes_read = 0, bytes_written = 0, requests = 0,
                flushes = 0;  // since the server started
};

// A session in short.
struct SessionName {
  std::string id, station, image, state;
  std::int64_t started = 0, changed = 0;
};

struct LayerStatus {
  LayerRecord record;
  std::uint64_t chunks = 0;     // that it holds
  std::uint64_t allocated = 0;  // bytes of its files
  std::filesystem::path folder;
};

// A disk to read: the whole of it, as a version or a session has it. It must be gone before the
// store is.
struct DiskView {
  std::shared_ptr<const Stack> stack;
  // Seconds since 1970: it is read as it was then, whatever is written meanwhile. 0: as it is when
  // it is read, since what lies at the bottom is being written to.
  std::int64_t moment = 0;
};

struct RedirectOptions {
  bool carry = false;  // first merge volatile layers down, so that everything survives
  bool force = false;  // `direct` while layers hold writes that the image then lacks
  // At a server: the session's own station says so, which has layers of its own above; to one of
  // the client's destinations is only noted then. `above_volatile`: some of those layers do not
  // survive a boot, and so nothing that is written on top of them may. `on_station`: some of them
  // do. `writer`: as in Foundation.
  bool by_station = false, above_volatile = false, on_station = false;
  std::string writer{};
};

// What a station says of itself before it connects.
struct Introduction {
  std::string message, proof;       // that it has its secret, as in secret.hpp
  std::optional<WritePlan> writes;  // that it will use, whatever the server proposes
};

// What a station would get that connected now.
struct Greeting {
  ImageRecord image;
  unsigned version = 1;
  WritePlan plan = Destination::server_volatile;
  std::string station;  // its name as the store knows it
  Foundation foundation;
  bool on_station = false;  // as in SessionRecord
};

// A live session as its station's own store is told of it.
struct StationSession {
  SessionStatus status;
  bool has_volatile = false;  // layers that do not survive a boot
  bool is_attached = false;   // a station's own store has said where its writes go
  std::string writer;
  Foundation foundation;
  std::string image_uuid;
  std::weak_ptr<Disk> disk;  // to be locked as long as it is used, and no longer than the store is
};

struct RedirectResult {
  std::string session;  // id
  Destination from, to;
  double pause_ms = 0;        // how long requests waited
  std::uint64_t carried = 0;  // bytes
  bool survives = false;      // whether what is written from now on survives the next boot
};

class Store {
 public:
  // Makes the folder if needed, and an empty store in it. EEXIST if there is one already.
  static void init(const std::filesystem::path& directory, StoreRole role = StoreRole::server);
  // Takes the lock: EBUSY names the process that has it. EROFS for a store that can't be written.
  static std::unique_ptr<Store> open(const std::filesystem::path& directory,
                                     const StoreOptions& options = {});
  virtual ~Store() = default;

  virtual const std::filesystem::path& directory() const = 0;
  // For reading records and for stations and parameters; images, layers and sessions are changed by
  // the functions below alone.
  virtual Catalogue& catalogue() = 0;

  // Images. Exactly one of `size` and `from` is given. `link`: serve `from` where it lies.
  struct NewImage {
    std::string name;
    std::optional<std::uint64_t> size;
    std::string from;
    bool link = false;
    std::string description;
    std::optional<WritePlan> writes;
    std::string uuid;  // empty: a new one
  };
  virtual ImageStatus create_image(const NewImage& image, const Progress& progress) = 0;
  // Makes an image of the disk that lies finished in STORE/captures/NAME/disk, and takes that
  // folder away. Of `image` the size, the source and `link` are not used.
  virtual ImageStatus adopt_image(const NewImage& image, const Progress& progress) = 0;
  virtual std::vector<ImageStatus> images() = 0;
  virtual ImageStatus image(const std::string& name) = 0;
  virtual void remove_image(const std::string& name) = 0;
  // Takes the backing as it is now after it was changed behind our back; EBUSY while overlays lie
  // on it.
  virtual ImageStatus accept_image(const std::string& name) = 0;

  // EBUSY while a session is live or at rest.
  virtual void remove_station(const std::string& name) = 0;
  // EEXIST, EBUSY while a session is live; those at rest go with it.
  virtual StationRecord rename_station(const std::string& name, const std::string& new_name) = 0;

  // Bytes that the file system has allocated for what a version adds to those with lower numbers;
  // of the first, also for the backing. So the sum over an image's versions has each file once.
  virtual std::uint64_t version_allocated(const VersionRecord& version) = 0;

  // Sessions: `session` is an id, or a station's name if it has one session alone, or
  // IMAGE@STATION.
  virtual std::vector<SessionStatus> sessions() = 0;
  virtual std::vector<SessionName> session_names() = 0;  // by id
  virtual SessionStatus session(const std::string& session) = 0;
  // Ends a live session: its connections get errors, its volatile layers go. `discard`: the
  // persistent ones too. One at rest can only be discarded (EINVAL says so).
  virtual void end_session(const std::string& session, bool discard) = 0;
  virtual RedirectResult redirect(const std::string& session, const WritePlan& plan,
                                  const RedirectOptions& options, const Progress& progress) = 0;

  // Ends all service and brings everything to disk; sessions stay, and may come back when the store
  // is opened again. Later requests to any disk throw ESHUTDOWN. The destructor does it too.
  virtual void stop() = 0;
  // Finds out whether the servers that images come from are there for the live sessions: what is
  // amiss is their `trouble` then. Waits for none that is known to be away.
  virtual void look_for_servers() = 0;

  // Layers. check: opens it, runs SQLite's integrity check, compares sizes, parent, index and data.
  virtual std::vector<LayerStatus> layers() = 0;
  virtual LayerStatus layer(const std::string& uuid) = 0;
  // Returns the faults found, a sentence each; none: the layer is sound.
  virtual std::vector<std::string> check_layer(const std::string& uuid) = 0;
  // EBUSY says who uses it. What nobody uses is removed by the store itself.
  virtual void remove_layer(const std::string& uuid) = 0;

  // Of a session that has written since it was last viewed, a new layer takes the writes from now
  // on, so that those below stay as they are. EREMOTE: some of its writes are at its station.
  virtual DiskView view_session(const std::string& session) = 0;
  // EBUSY: the version is open.
  virtual DiskView view_version(const std::string& image, unsigned number) = 0;
  // Makes a version, the image's next, of the one that a session lies on and of what the session
  // has written so far, which goes on undisturbed. `session`: empty for the only one that has
  // written on the image. The new version is not published. EINVAL if there is no such session, or
  // several; EREMOTE as above.
  virtual VersionRecord freeze_version(const std::string& image, const std::string& session,
                                       const Progress& progress) = 0;
  // Likewise of a session whose station is to be asked for what it has itself; null for another
  // one. The station gets the version's number, under which it calls freeze_for_station() and sends
  // what it has. Who gives the object up before finish() has returned leaves nothing.
  class StationVersion {
   public:
    virtual ~StationVersion() = default;
    virtual const SessionRecord& session() const = 0;
    virtual std::uint64_t number() const = 0;
    // Waits until the station has sent its part, of so many bytes.
    virtual VersionRecord finish(std::uint64_t bytes, const Progress& progress) = 0;
  };
  virtual std::unique_ptr<StationVersion> begin_station_version(const std::string& image,
                                                                const std::string& session) = 0;
  // Fixes what the session has written here until now, of which the version consists with what its
  // station sends. `goes_on`: the station goes on to write here, and calls again when it knows what
  // it sends: what was written in between covers that, all else lies below it. ESTALE: no such
  // version is being made.
  virtual void freeze_for_station(const ExportName& name, const Peer& peer, std::uint64_t number,
                                  bool goes_on) = 0;
  // Where the station sends it to. ESTALE.
  virtual std::shared_ptr<VersionUpload> version_upload(const ExportName& name, const Peer& peer,
                                                        std::uint64_t number) = 0;
  // At a station: what it sends for the version with this number, whose moment this is.
  virtual OwnLayers freeze_own_layers(const std::string& session, std::uint64_t number) = 0;

  // Versions. An image's number 0 stands for the one that is meant most often: of open_version()
  // the published one, of close_version() and discard_version() the open one, of publish_version()
  // the newest that is not open, else the published one. All but merging, comparing and hashing
  // take no time that depends on the disk's size. EBUSY: another verb works on the image's
  // versions, or what the sentence says.
  //
  // From its next session on the station writes a new version of the image, made on `base`. EBUSY:
  // one is open already, or the station keeps writes on another version.
  virtual VersionRecord open_version(const std::string& image, const std::string& station,
                                     unsigned base, const std::string& comment) = 0;
  // EBUSY while the station's session runs; EINVAL if it has written nothing.
  virtual VersionRecord close_version(const std::string& image, unsigned number,
                                      const Progress& progress) = 0;
  // Stations get it at their next session; the one that was published before can be published
  // again.
  virtual VersionRecord publish_version(const std::string& image, unsigned number) = 0;
  // These stations get it at their next session, in place of the published one; none: no station.
  virtual VersionRecord test_version(const std::string& image, unsigned number,
                                     const std::vector<std::string>& stations) = 0;
  virtual void discard_version(const std::string& image, unsigned number) = 0;
  // The layers that versions `first` … `last` have added become one, and `last` stays of them; the
  // others go when nobody uses them any more. EINVAL: `last` is not made on `first`; EBUSY: one of
  // those that would go is published, or tested.
  virtual MergeResult merge_versions(const std::string& image, unsigned first, unsigned last,
                                     const Progress& progress) = 0;
  virtual VersionDifference compare_versions(const std::string& image, unsigned before,
                                             unsigned after, const Progress& progress) = 0;
  // Reads the version, and compares it with its hashes. Parts that have none get them.
  virtual Verification verify_version(const std::string& image, unsigned number,
                                      const Progress& progress) = 0;

  // What chunks first … first+count-1 of a version hash to; none for those of which it is not
  // known, and for all while the image is written directly.
  virtual std::vector<std::optional<ChunkHash>> chunk_hashes(const std::string& image,
                                                             unsigned number, std::uint64_t first,
                                                             std::size_t count) = 0;

  // Removes what nothing refers to: merged versions that nobody uses any more, files that crashes
  // left; with `unknown` also what no record speaks of. `dry_run`: only tells.
  virtual Garbage collect_garbage(bool dry_run, bool unknown) = 0;
  // Everything but the contents of disks.
  virtual StoreCheck check(const Progress& progress) = 0;

  // The door for stations. A connection keeps its session alive until it is destroyed, which must
  // be before the store is.
  class Connection {
   public:
    virtual ~Connection() = default;
    virtual Disk& disk() = 0;
    // What this connection's changes of the disk are to be made with.
    virtual const Gate* gate() const = 0;
    // Whether other connections may share this session, with flushes covering them all.
    virtual bool multi_conn() const = 0;
    virtual bool read_only() const = 0;
    virtual const std::string& image() const = 0;
  };
  // The images that this peer could connect to, as far as names and addresses decide it.
  virtual std::vector<ImageRecord> exports(const Peer& peer) = 0;
  // How the station proves that it has its secret (key_recipe() in secret.hpp); none if it has
  // none.
  virtual std::optional<std::string> secret_recipe(const ExportName& name, const Peer& peer) = 0;
  // Throws Error as connect() would, and EACCES for what the station may not choose. Makes nothing,
  // but that the name's session token is known now for one that came with proof of the secret.
  virtual Greeting greet(const ExportName& name, const Peer& peer,
                         const Introduction& introduction) = 0;
  // Throws Error(EACCES) if this station may not choose all that is in the plan.
  virtual void require_may_choose(const ExportName& name, const Peer& peer,
                                  const WritePlan& plan) = 0;
  // At a station: compare() of foundation.hpp, for what a session has left here.
  virtual Fit fit(const SessionRecord& rest, const Foundation& now) = 0;
  // Whether the image is still the one with this uuid, and has no session any more that began with
  // the name's token.
  virtual bool has_ended(const ExportName& name, const std::string& uuid) = 0;
  // The live session that a client has begun with this name's token. ENOENT; EACCES for a peer that
  // the station may not be.
  virtual StationSession session_with_token(const ExportName& name, const Peer& peer) = 0;
  // Creates nothing durable: the first write does. Throws Error with the reason for a refusal.
  //
  // Firmware and the system that it boots have one session, which the system takes over: from its
  // first connection on, those of the firmware are shut out. Firmware that comes when the system
  // has lost its connections has booted the station again, and gets a new session; while there are
  // any, EBUSY.
  virtual std::unique_ptr<Connection> connect(const ExportName& name, const Peer& peer,
                                              bool read_only) = 0;
};

}  // namespace plydisk
