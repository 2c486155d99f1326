#include "station_store.hpp"

#include <nlohmann/json.hpp>

#include "backing/nbd_backing.hpp"
#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/secret.hpp"
#include "control/server_link.hpp"
#include "store/names.hpp"
#include "store/store.hpp"

namespace plydisk {

namespace {

// Layers of an earlier attachment are only good on the version of the image on which they were
// made.
void reuse_store(Store& store, const ImageRecord& known, const AttachedDisk& disk,
                 const Origin& origin, const AttachOptions& options, std::uint64_t size) {
  if (origin.uuid.empty() && export_of(known.backing) != export_of(origin.uri) &&
      export_of(known.backing).ends_with("@" + disk.station))
    throw Error(EPROTO,
                "what answers at " + origin.uri +
                    " is no server of plydisk, as the one was on whose disk the layers in " +
                    disk.store.string() + " lie; try again when that is back");
  // An image that is known by its uuid may be reached in another way than it was.
  const bool is_same =
      known.size == size &&
      (origin.uuid.empty()
           ? known.backing == origin.uri
           : known.uuid == origin.uuid && export_of(known.backing) == export_of(origin.uri));
  if (is_same && known.backing == origin.uri) return;
  const auto session = store.catalogue().session_of(disk.station, disk.image);
  if (session && !is_same) {
    const bool is_other_image = !origin.uuid.empty() && known.uuid != origin.uuid;
    if (options.keep_version && !is_other_image) {
      store.catalogue().change_image(disk.image, [&](ImageRecord& image) {
        image.backing = with_export(origin.uri, export_of(known.backing));
      });
      return;
    }
    if (!options.discard)
      throw Error(
          EUCLEAN,
          "the persistent layers in " + disk.store.string() + " lie on " +
              (is_other_image ? "another image than the server has by that name now; drop "
                                "the layers with --discard"
                              : known.backing + ", and the server has " + origin.uri +
                                    " now; drop the layers with --discard, or stay with what they "
                                    "lie on with --keep-version"));
    store.end_session(session->id, true);
  }
  store.catalogue().change_image(disk.image, [&](ImageRecord& image) {
    if (!origin.uuid.empty()) image.uuid = origin.uuid;
    image.backing = origin.uri;
    image.size = size;
    image.backing_size = size;
  });
}

// Layers over a file are good as long as that is as it was.
void reuse_store_of_file(Store& store, const AttachedDisk& disk, const Origin& origin,
                         bool discard) {
  const ImageStatus known = store.image(disk.image);
  if (known.record.backing == origin.uri && known.state == "ok") return;
  if (const auto session = store.catalogue().session_of(disk.station, disk.image)) {
    if (!discard)
      throw Error(EUCLEAN, "the persistent layers in " + disk.store.string() + " lie on " +
                               known.record.backing +
                               " as it was; put that back, or drop the layers with --discard");
    store.end_session(session->id, true);
  }
  store.catalogue().change_image(disk.image,
                                 [&](ImageRecord& image) { image.backing = origin.uri; });
  store.accept_image(disk.image);
}

// What the server keeps may lie on layers here, in turn.
void require_none_is_missing(const AttachedDisk& disk, const Origin& origin) {
  if (!origin.on_station) return;
  throw Error(EUCLEAN,
              "what the server keeps for station " + quote(disk.station) +
                  " lies on layers in the folder with which it was attached then: attach with that "
                  "--dir; or drop what is kept, at the server, with: plydisk session end " +
                  disk.image + "@" + disk.station + " --discard");
}

// Nor are they where another session has written meanwhile to what they lie on.
void require_fitting_layers(Store& store, const AttachedDisk& disk, const Origin& origin,
                            bool discard) {
  const auto session = store.catalogue().session_of(disk.station, disk.image);
  if (!session || origin.uuid.empty() || store.catalogue().session_layers(session->id).empty())
    return require_none_is_missing(disk, origin);
  const Fit fit = store.fit(*session, origin.foundation);
  if (fit == Fit::fits) return;
  if (fit == Fit::differs && !discard)
    throw Error(EUCLEAN,
                "the persistent layers in " + disk.store.string() +
                    " don't fit the disk that the server has for station " + quote(disk.station) +
                    " any more: it was written without them, or what it had was discarded; drop "
                    "the layers with --discard");
  store.end_session(session->id, true);
  if (fit == Fit::differs) require_none_is_missing(disk, origin);
}

}  // namespace

Origin greet_server(AttachedDisk& disk, const AttachOptions& options) {
  Origin origin{disk.uri, "", options.writes.empty() ? "client-ram" : options.writes};
  if (!is_nbd_uri(disk.uri)) {
    const std::string stem = std::filesystem::path(disk.uri).stem();
    disk.image = is_valid_name(stem) ? stem : "disk";
    disk.writes = with_memory_limit(origin.plan);
    return origin;
  }
  const std::string name = export_of(options.uri);
  const std::string image = name.substr(0, name.find_first_of(":@"));
  disk.image = is_valid_name(image) ? image : "disk";
  const std::string secret = options.secret_file.empty() ? "" : read_secret(options.secret_file);
  const std::string token = session_token(secret);
  const std::string named = is_valid_name(image) ? image : "";
  ServerLink::Hello hello{disk.station, token, secret, std::nullopt, std::nullopt};
  if (name.find(':') != std::string::npos) hello.version = parse_export_name(name).version;
  if (!options.writes.empty()) {
    hello.writes = WritePlan(options.writes);
    require_no_server_sizes(*hello.writes, disk.station);
  }
  if (const auto greeting =
          ServerLink(control_uri(disk.uri, named, disk.station, token)).hello(hello)) {
    disk.image = greeting->at("image").get<std::string>();
    disk.token = token;
    disk.control = control_uri(disk.uri, disk.image, disk.station, token);
    disk.uuid = greeting->at("uuid").get<std::string>();
    origin.uri = with_export(
        disk.uri, disk.image + ":" + greeting->at("version").dump() + "@" + disk.station);
    origin.uuid = disk.uuid;
    origin.on_station = greeting->at("on_station").get<bool>();
    origin.foundation = parse_foundation(greeting->at("foundation").get<std::string>());
    if (options.writes.empty()) origin.plan = greeting->at("writes").get<std::string>();
  }
  disk.writes = with_memory_limit(origin.plan);
  return origin;
}

void prepare_store(const AttachedDisk& disk, const Origin& origin, const AttachOptions& given) {
  if (!std::filesystem::exists(disk.store / "catalogue.sqlite"))
    Store::init(disk.store, StoreRole::station);
  StoreOptions options;
  options.memory = disk.memory();
  options.keeps_files = disk.keeps_files;
  options.nbd.session = disk.token;
  options.nbd.connections = 1;  // little is asked; the engine makes its own
  const auto store = Store::open(disk.store, options);
  Catalogue& catalogue = store->catalogue();
  // One that could not be ended, as its disk was detached: what it had in memory is gone.
  if (const auto session = catalogue.session_of(disk.station, disk.image);
      session && session->ended == 0)
    store->end_session(session->id, false);
  if (const auto known = catalogue.find_image(disk.image); known && !is_nbd_uri(origin.uri)) {
    reuse_store_of_file(*store, disk, origin, given.discard);
  } else if (known) {
    const std::uint64_t size = open_nbd_backing(origin.uri, options.nbd)->size();
    reuse_store(*store, *known, disk, origin, given, size);
    require_fitting_layers(*store, disk, origin, given.discard);
  } else {
    Store::NewImage image;
    image.name = disk.image;
    image.uuid = origin.uuid;
    image.from = origin.uri;
    image.link = true;
    store->create_image(image, {});
    require_none_is_missing(disk, origin);
  }
  if (!catalogue.find_station(disk.station)) {
    StationRecord station;
    station.name = disk.station;
    catalogue.add_station(station);
  }
  catalogue.change_station(
      disk.station, [&](StationRecord& station) { station.writes = WritePlan(disk.writes); });
}

}  // namespace plydisk
