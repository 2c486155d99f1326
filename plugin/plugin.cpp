// nbdkit-plydisk-plugin: nbdkit's callbacks over the engine, and nothing else.
//
// The life of the server: `config` takes parameters; `get_ready` opens everything once to report
// errors where they are seen, and closes it; `after_fork` opens it for good, since threads, locks
// and SQLite handles do not outlive the fork; `cleanup` brings all to disk. Connections may still
// be there then, with their threads, so what they use is stopped and never destroyed.

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "control/reserved_export.hpp"
#include "control/server.hpp"
#include "control/server_link.hpp"
#include "control/service.hpp"
#include "control/station_duties.hpp"
#include "control/station_hub.hpp"
#include "guard.hpp"
#include "multicast/service.hpp"
#include "multicast/station.hpp"
#include "orderly_end.hpp"
#include "peer.hpp"
#include "sockets.hpp"
#include "store/scratch_disk.hpp"
#include "store/store.hpp"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace {

using namespace plydisk;

struct Configuration {
  std::string store, image, overlay, memory, session, control;
  bool files = true, multicast = false;
  std::optional<unsigned> connections, patience;
};
Configuration configuration;

// Either a store with its control socket, or one image with a scratch overlay.
struct Server {
  StationHub stations;
  MulticastService multicast;
  std::shared_ptr<ServerLink> link;                       // of a station, to its server
  std::shared_ptr<MulticastStation> multicast_at_client;  // of a station
  std::unique_ptr<Store> store;
  std::unique_ptr<ControlService> service;
  std::unique_ptr<StationDuties> duties;  // of a station
  std::unique_ptr<ControlServer> control;
  std::unique_ptr<ScratchDisk> scratch;
};
Server* server = nullptr;
OrderlyEnd* orderly_end = nullptr;

struct Handle {
  std::unique_ptr<Store::Connection> connection;  // null without a store
  std::unique_ptr<ReservedExport> reserved;       // instead of a disk
  bool read_only = false;
  Disk& disk() const { return connection ? connection->disk() : server->scratch->disk(); }
  const Gate* gate() const { return connection ? connection->gate() : nullptr; }
};

Handle& handle_of(void* handle) { return *static_cast<Handle*>(handle); }

unsigned parse_number(const char* key, const char* value) {
  unsigned number = 0;
  if (nbdkit_parse_unsigned(key, value, &number) != 0)
    throw Error(EINVAL, std::string(key) + " is a whole number, not " + quote(value));
  return number;
}

bool parse_yes(const char* key, const char* value) {
  const int yes = nbdkit_parse_bool(value);
  if (yes < 0) throw Error(EINVAL, std::string(key) + " is yes or no, not " + quote(value));
  return yes == 1;
}

// What is not for everybody's eyes: +FILE has it in a file, as for nbdkit's passwords.
std::string read_hidden(const char* value) {
  char* text = nullptr;
  if (nbdkit_read_password(value, &text) != 0)
    throw Error(EINVAL, "cannot read " + std::string(value));
  const std::unique_ptr<char, decltype(&free)> owned(text, free);
  return text;
}

// Parameters that are no paths. False for another one.
bool config_plain(const std::string& key, const char* value) {
  if (key == "files")
    configuration.files = parse_yes("files", value);
  else if (key == "multicast")
    configuration.multicast = parse_yes("multicast", value);
  else if (key == "connections")
    configuration.connections = std::max(1U, parse_number("connections", value));
  else if (key == "patience")
    configuration.patience = parse_number("patience", value);
  else if (key == "session")
    configuration.session = read_hidden(value);
  else if (key == "control")
    configuration.control = read_hidden(value);
  else
    return false;
  return true;
}

int config(const char* key, const char* value) {
  return guarded(-1, [&] {
    if (config_plain(key, value)) return 0;
    std::string* place = nullptr;
    if (std::strcmp(key, "file") == 0 || std::strcmp(key, "backing") == 0)
      place = &configuration.image;
    if (std::strcmp(key, "store") == 0) place = &configuration.store;
    if (std::strcmp(key, "overlay") == 0) place = &configuration.overlay;
    if (std::strcmp(key, "memory") == 0) place = &configuration.memory;
    if (place == nullptr)
      throw Error(EINVAL, "unknown parameter " + std::string(key) +
                              "; there are: file, backing, store, overlay, connections, patience, "
                              "memory, files, session, control, multicast");
    if (!place->empty()) throw Error(EINVAL, std::string(key) + " is given twice");
    if (place == &configuration.image && is_nbd_uri(value)) {
      *place = value;
      return 0;
    }
    // The daemon changes to the root folder, so paths are made whole now.
    const std::unique_ptr<char, decltype(&free)> path(nbdkit_absolute_path(value), free);
    if (!path) return -1;
    *place = path.get();
    return 0;
  });
}

int config_complete() {
  return guarded(-1, [] {
    if (configuration.store.empty() == configuration.image.empty())
      throw Error(EINVAL,
                  "give either an image (nbdkit plydisk disk.img) or a store (store=FOLDER)");
    if (!configuration.overlay.empty() && configuration.image.empty())
      throw Error(EINVAL, "overlay=FOLDER goes with an image; a store has its own layers");
    if (configuration.store.empty() && !configuration.memory.empty())
      throw Error(EINVAL, "memory=FOLDER goes with a station's store");
    return 0;
  });
}

void log(const std::string& sentence) { nbdkit_error("%s", sentence.c_str()); }

// nbdkit waits for its clients' threads before it says that it is to end.
bool is_pointless() { return nbdkit_nanosleep(0, 1) != 0; }

// Asked of this station's server, which refuses its connections. The store has one image.
bool session_is_over() {
  return guarded(false, [] {
    if (server == nullptr || !server->link) return false;
    const auto images = server->store->catalogue().images();
    return !images.empty() && server->link->has_ended(images.front().uuid);
  });
}

std::unique_ptr<Server> open_server(bool serve) {
  auto opened = std::make_unique<Server>();
  NbdOptions nbd;
  if (configuration.connections) nbd.connections = *configuration.connections;
  if (configuration.patience) nbd.patience = std::chrono::seconds(*configuration.patience);
  nbd.session = configuration.session;
  nbd.is_pointless = is_pointless;
  nbd.is_over = session_is_over;
  if (configuration.store.empty()) {
    opened->scratch =
        std::make_unique<ScratchDisk>(configuration.image, configuration.overlay, nbd);
    return opened;
  }
  StoreOptions options;
  options.serve = serve;
  // A command, or an administration mount, may have the store for a moment.
  options.lock_patience = std::chrono::seconds(3);
  options.nbd = nbd;
  options.memory = configuration.memory;
  options.keeps_files = configuration.files;
  options.log = log;
  if (!configuration.control.empty())
    opened->link = std::make_shared<ServerLink>(configuration.control);
  options.upstream = opened->link;
  if (opened->link && serve) {
    opened->multicast_at_client =
        std::make_shared<MulticastStation>(opened->link, configuration.multicast);
    options.over_server = [station = opened->multicast_at_client](std::shared_ptr<Backing> disk) {
      return station->over(std::move(disk));
    };
  }
  opened->store = Store::open(configuration.store, options);
  if (!serve) return opened;
  const bool is_station = opened->store->catalogue().role() == StoreRole::station;
  MulticastParts multicast;
  multicast.station = opened->multicast_at_client.get();
  if (!is_station) multicast.service = &opened->multicast;
  opened->service =
      std::make_unique<ControlService>(*opened->store, ControlService::Role::server,
                                       is_station ? nullptr : &opened->stations, multicast);
  if (opened->link) {
    opened->duties = std::make_unique<StationDuties>(*opened->service, *opened->link, log);
    opened->link->listen(
        [duties = opened->duties.get()](const std::string& method, const nlohmann::json& params) {
          return duties->carry_out(method, params);
        });
  }
  opened->control = std::make_unique<ControlServer>(*opened->service);
  return opened;
}

int get_ready() {
  return guarded(-1, [] {
    open_server(false);
    return 0;
  });
}

// Each layer of each session takes four descriptors. Not before the fork: a command that --run
// starts keeps the limit that it expects.
void raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// A station's own disk is behind this process: it must not wait for memory that is to be freed by
// writing to that disk. Only what is touched is locked, and no data of layers (MappedFile).
void become_station() {
  // It goes on when its supervisor is killed, though nbdkit in the foreground asks to be ended.
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
    nbdkit_error(
        "the memory of the disk's engine can't be locked: %s; a station that is short of "
        "memory may hang",
        std::strerror(errno));
}

int after_fork() {
  return guarded(-1, [] {
    raise_open_files_limit();
    probe_idle_clients();
    server = open_server(true).release();
    if (server->store && server->store->catalogue().role() == StoreRole::station)
      become_station();
    else
      orderly_end = new OrderlyEnd(configuration.store.empty()
                                       ? std::filesystem::path()
                                       : std::filesystem::path(configuration.store) / "control");
    return 0;
  });
}

void cleanup() {
  guarded(0, [] {
    delete std::exchange(orderly_end, nullptr);
    if (server == nullptr) return 0;
    server->stations.stop();
    server->multicast.stop();
    if (server->link) server->link->stop();
    if (server->duties) server->duties->stop();
    if (server->control) server->control->stop();
    if (server->store) server->store->stop();
    if (server->scratch) server->scratch->stop();
    return 0;
  });
}

int list_exports(int, int, struct nbdkit_exports* exports) {
  return guarded(-1, [&] {
    if (!server->store) return nbdkit_add_export(exports, "", configuration.image.c_str());
    for (const auto& image : server->store->exports(current_peer())) {
      const char* const text = image.description.empty() ? nullptr : image.description.c_str();
      if (nbdkit_add_export(exports, image.name.c_str(), text) != 0) return -1;
    }
    return 0;
  });
}

void* open(int read_only) {
  return guarded(static_cast<void*>(nullptr), [&]() -> void* {
    auto handle = std::make_unique<Handle>();
    handle->read_only = read_only != 0;
    if (server->store)
      handle->reserved = open_reserved_export(*server->store, server->stations, &server->multicast,
                                              nbdkit_export_name(), current_peer(), log);
    if (handle->reserved) return handle.release();
    if (server->store) {
      const ExportName name = parse_export_name(nbdkit_export_name());
      handle->connection = server->store->connect(name, current_peer(), handle->read_only);
    }
    return handle.release();
  });
}

void close(void* handle) { delete &handle_of(handle); }

const char* export_description(void* handle) {
  return guarded(static_cast<const char*>(nullptr), [&]() -> const char* {
    if (!server->store) return nbdkit_strdup_intern(configuration.image.c_str());
    if (handle_of(handle).reserved) return nullptr;
    const auto image = server->store->catalogue().find_image(handle_of(handle).connection->image());
    if (!image || image->description.empty()) return nullptr;
    return nbdkit_strdup_intern(image->description.c_str());
  });
}

int64_t get_size(void* handle) {
  const Handle& it = handle_of(handle);
  return static_cast<int64_t>(it.reserved ? it.reserved->size() : it.disk().size());
}

int block_size(void*, uint32_t* minimum, uint32_t* preferred, uint32_t* maximum) {
  *minimum = 1;
  *preferred = 4096;
  *maximum = 0xffffffff;
  return 0;
}

int can_write(void* handle) { return handle_of(handle).read_only ? 0 : 1; }
int is_disk(void* handle) { return handle_of(handle).reserved ? 0 : 1; }
int can_zero(void* handle) { return is_disk(handle) || handle_of(handle).reserved->can_zero(); }
int no(void*) { return 0; }
int can_fua(void* handle) { return is_disk(handle) ? NBDKIT_FUA_NATIVE : NBDKIT_FUA_NONE; }
int can_cache(void* handle) { return is_disk(handle) ? NBDKIT_CACHE_NATIVE : NBDKIT_CACHE_NONE; }

int can_multi_conn(void* handle) {
  const auto& connection = handle_of(handle).connection;
  return is_disk(handle) && (!connection || connection->multi_conn()) ? 1 : 0;
}

int pread(void* handle, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  return guarded(-1, [&] {
    const Handle& it = handle_of(handle);
    if (it.reserved)
      it.reserved->read(buffer, count, offset);
    else
      it.disk().read(buffer, count, offset);
    return 0;
  });
}

int pwrite(void* handle, const void* buffer, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded(-1, [&] {
    const Handle& it = handle_of(handle);
    if (it.reserved)
      it.reserved->write(buffer, count, offset);
    else
      it.disk().write(buffer, count, offset, (flags & NBDKIT_FLAG_FUA) != 0, it.gate());
    return 0;
  });
}

int flush(void* handle, uint32_t) {
  return guarded(-1, [&] {
    handle_of(handle).disk().flush();
    return 0;
  });
}

int trim(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded(-1, [&] {
    const Handle& it = handle_of(handle);
    it.disk().trim(offset, count, (flags & NBDKIT_FLAG_FUA) != 0, it.gate());
    return 0;
  });
}

int zero(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded(-1, [&] {
    const Handle& it = handle_of(handle);
    if (it.reserved) {
      it.reserved->zero(offset, count);
      return 0;
    }
    Disk& disk = it.disk();
    if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0 && !disk.zeroes_fast()) {
      nbdkit_set_error(EOPNOTSUPP);
      return -1;
    }
    disk.zero(offset, count, (flags & NBDKIT_FLAG_MAY_TRIM) != 0, (flags & NBDKIT_FLAG_FUA) != 0,
              it.gate());
    return 0;
  });
}

int extents(void* handle, uint32_t count, uint64_t offset, uint32_t flags,
            struct nbdkit_extents* extents) {
  return guarded(-1, [&] {
    bool enough = false;
    int result = 0;
    handle_of(handle).disk().for_each_extent(
        offset, count, [&](uint64_t at, uint64_t bytes, bool is_zero) {
          if (enough || result != 0) return;
          const uint32_t type = is_zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0U;
          result = nbdkit_add_extent(extents, at, bytes, type);
          enough = (flags & NBDKIT_FLAG_REQ_ONE) != 0 && at > offset;
        });
    return result;
  });
}

// Of a station that is subscribed to multicast: to be sent so. If it is not, that is no failure
// that anybody should read of, and the station reads it.
int cache(void* handle, uint32_t count, uint64_t offset, uint32_t) {
  return guarded(-1, [&] {
    Disk& disk = handle_of(handle).disk();
    switch (server->multicast.send(disk, offset, count)) {
      case MulticastService::Answer::sent:
        return 0;
      case MulticastService::Answer::refused:
        nbdkit_set_error(ENOTSUP);
        return -1;
      case MulticastService::Answer::not_subscribed:
        break;
    }
    disk.prefetch(offset, count);
    return 0;
  });
}

constexpr const char* help =
    "[file=]IMAGE      Serve one image; writes go to a volatile overlay, never to the image.\n"
    "[backing=]URI     The same with the export of another NBD server.\n"
    "overlay=FOLDER    Where that overlay lies (default: $TMPDIR, or /var/tmp).\n"
    "store=FOLDER      Serve all images of a store; the export name says\n"
    "                  IMAGE[:VERSION][@STATION[+SESSION[.EPOCH[.r]]]].\n"
    "connections=N     To an NBD server that is a backing (default: 4).\n"
    "patience=SECONDS  How long requests wait for one that is away (default: for ever).\n"
    "memory=FOLDER     Of a station's store, as \"plydisk attach\" makes: where its layers in\n"
    "                  memory lie;\n"
    "files=no          and that there are none in files;\n"
    "session=TOKEN, control=URI\n"
    "                  how to talk to its server about the session;\n"
    "multicast=yes     and that it takes part in multicast from its start.";

void dump_plugin() {
  printf("plydisk_version=%s\n", PLYDISK_VERSION);
  printf("plydisk_store_format=%d\n", store_format);
  printf("plydisk_sqlite=%s\n", sqlite3_libversion());
}

nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "plydisk";
  plugin.longname = "plydisk: disks for workstations from shared images";
  plugin.version = PLYDISK_VERSION;
  plugin.description = "Serves images with copy-on-write layers tracked in SQLite sector indexes";
  plugin.dump_plugin = dump_plugin;
  plugin.config = config;
  plugin.config_complete = config_complete;
  plugin.config_help = help;
  plugin.magic_config_key = "file";
  plugin.get_ready = get_ready;
  plugin.after_fork = after_fork;
  plugin.cleanup = cleanup;
  plugin.list_exports = list_exports;
  plugin.open = open;
  plugin.close = close;
  plugin.export_description = export_description;
  plugin.get_size = get_size;
  plugin.block_size = block_size;
  plugin.can_write = can_write;
  plugin.can_flush = is_disk;
  plugin.is_rotational = no;
  plugin.can_trim = is_disk;
  plugin.can_zero = can_zero;
  plugin.can_fast_zero = is_disk;
  plugin.can_extents = is_disk;
  plugin.can_fua = can_fua;
  plugin.can_multi_conn = can_multi_conn;
  plugin.can_cache = can_cache;
  plugin.pread = pread;
  plugin.pwrite = pwrite;
  plugin.flush = flush;
  plugin.trim = trim;
  plugin.zero = zero;
  plugin.extents = extents;
  plugin.cache = cache;
  return plugin;
}

nbdkit_plugin plugin = make_plugin();

}  // namespace

NBDKIT_REGISTER_PLUGIN(plugin)
