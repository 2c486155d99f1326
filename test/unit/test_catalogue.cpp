#include <fcntl.h>

#include <fstream>
#include <thread>

#include "base/file.hpp"
#include "base/uuid.hpp"
#include "store/catalogue.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;
using test::mentions;
using test::TemporaryDirectory;

namespace {

ImageRecord image_record(const std::string& name) {
  ImageRecord image;
  image.name = name;
  image.size = 1 << 20;
  image.backing = "images/" + name + "/disk";
  image.created = 1000;
  return image;
}

LayerRecord layer_record(const std::string& image, const std::string& session, int position,
                         const std::string& parent = "") {
  LayerRecord layer;
  layer.uuid = random_uuid();
  layer.image = image;
  layer.session = session;
  layer.position = position;
  layer.parent = parent;
  layer.kind = "data";
  layer.state = "writing";
  layer.size = 1 << 20;
  layer.created = 1000;
  return layer;
}

SessionRecord session_record(const std::string& id, const std::string& station,
                             const std::string& image) {
  SessionRecord session;
  session.id = id;
  session.station = station;
  session.image = image;
  session.peer = "unix";
  session.boot = "boot";
  session.started = 1000;
  return session;
}

StationRecord station_record(const std::string& name) {
  StationRecord station;
  station.name = name;
  station.created = 1000;
  return station;
}

std::vector<std::string> uuids(const std::vector<LayerRecord>& layers) {
  std::vector<std::string> result;
  for (const LayerRecord& layer : layers) result.push_back(layer.uuid);
  return result;
}

// A store with an image "debian" and a station "pc07".
struct Fixture {
  Fixture() {
    Catalogue::create(directory.path());
    catalogue.emplace(directory.path());
    catalogue->add_image(image_record("debian"));
    catalogue->add_station(station_record("pc07"));
  }
  void reopen() {
    catalogue.reset();
    catalogue.emplace(directory.path());
  }
  // Behind the catalogue's back.
  void edit(const char* sql) {
    catalogue.reset();
    Database db = Database::open(file(), Database::Mode::read_write);
    db.exec(sql);
  }
  Error open_error() {
    catalogue.reset();
    return error_of([&] { Catalogue opened(directory.path()); });
  }
  std::filesystem::path file() const { return directory.path() / "catalogue.sqlite"; }

  TemporaryDirectory directory;
  std::optional<Catalogue> catalogue;
};

}  // namespace

TEST_CASE("catalogue: made once, opened again") {
  TemporaryDirectory directory;
  const Error missing = error_of([&] { Catalogue catalogue(directory.path()); });
  CHECK(missing.code() == ENOENT);
  CHECK(mentions(missing, "plydisk init"));
  Catalogue::create(directory.path());
  CHECK(error_of([&] { Catalogue::create(directory.path()); }).code() == EEXIST);
  Catalogue catalogue(directory.path());
  CHECK(catalogue.images().empty());
  using std::filesystem::perms;
  for (const char* name : {"catalogue.sqlite", "catalogue.sqlite-wal"})
    CHECK((std::filesystem::status(directory.path() / name).permissions() & perms(077)) ==
          perms::none);
}

TEST_CASE("catalogue: a making that was cut short is finished by the next") {
  TemporaryDirectory directory;
  Database::open(directory.path() / "catalogue.sqlite", Database::Mode::create)
      .exec("PRAGMA journal_mode=WAL");
  CHECK(error_of([&] { Catalogue catalogue(directory.path()); }).code() == ENOENT);
  Catalogue::create(directory.path());
  Catalogue catalogue(directory.path());
  CHECK(catalogue.images().empty());
}

TEST_CASE("catalogue: a newer format is refused and left alone") {
  Fixture store;
  store.edit("UPDATE meta SET value='2' WHERE key='format'");
  const std::string before = read_text_file(store.file());
  const Error error = store.open_error();
  CHECK(error.code() == EPROTONOSUPPORT);
  CHECK(mentions(error, "has format 2"));
  CHECK(mentions(error, "newer plydisk"));
  CHECK(read_text_file(store.file()) == before);
}

TEST_CASE("catalogue: files that are no catalogue") {
  Fixture store;
  SUBCASE("format is no number") {
    store.edit("UPDATE meta SET value='x'");
    CHECK(store.open_error().code() == EUCLEAN);
  }
  SUBCASE("no format") {
    store.edit("DELETE FROM meta");
    CHECK(store.open_error().code() == EUCLEAN);
  }
  SUBCASE("another program's database") {
    store.catalogue.reset();
    std::filesystem::remove(store.file());
    Database::open(store.file(), Database::Mode::create).exec("CREATE TABLE t(x)");
    CHECK(store.open_error().code() == EUCLEAN);
    CHECK(error_of([&] { Catalogue::create(store.directory.path()); }).code() == EEXIST);
  }
  SUBCASE("no database") {
    store.catalogue.reset();
    std::ofstream(store.file()) << std::string(8192, 'x');
    CHECK(store.open_error().code() == EUCLEAN);
  }
  SUBCASE("records that refer to missing ones") {
    store.edit("PRAGMA foreign_keys=OFF; DELETE FROM version");
    CHECK(store.open_error().code() == EUCLEAN);
  }
  SUBCASE("damaged pages") {
    store.catalogue.reset();
    const auto size = std::filesystem::file_size(store.file());
    const File file = File::open(store.file(), O_RDWR);
    const std::string garbage(size - 4096, '\xa5');
    file.write(garbage.data(), garbage.size(), 4096);
    CHECK(store.open_error().code() == EUCLEAN);
  }
  SUBCASE("truncated") {
    store.catalogue.reset();
    std::filesystem::resize_file(store.file(), std::filesystem::file_size(store.file()) / 2);
    CHECK(store.open_error().code() == EUCLEAN);
  }
}

TEST_CASE("catalogue: what was committed outlives the process") {
  Fixture store;
  // The files as a crash leaves them, with the log not yet merged.
  TemporaryDirectory copy;
  for (const char* name : {"catalogue.sqlite", "catalogue.sqlite-wal"})
    std::filesystem::copy_file(store.directory.path() / name, copy.path() / name);
  Catalogue catalogue(copy.path());
  CHECK(catalogue.image("debian").size == 1 << 20);
  CHECK(catalogue.station("pc07").name == "pc07");
}

TEST_CASE("catalogue: images") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  ImageRecord image = image_record("arch");
  image.linked = true;
  image.backing = "/dev/sr0";
  image.description = "Arch – für alle\nsecond line";
  image.writes = Destination::server_persistent;
  image.backing_size = 12345;
  image.backing_mtime_ns = 1234567890123456789;
  image.backing_dirty = true;
  catalogue.add_image(image);
  store.reopen();
  const ImageRecord read = store.catalogue->image("arch");
  CHECK(read.size == image.size);
  CHECK(read.backing == image.backing);
  CHECK(read.linked);
  CHECK(read.description == image.description);
  CHECK(read.writes == image.writes);
  CHECK(read.created == 1000);
  CHECK(read.published == 1);
  CHECK(read.backing_size == 12345);
  CHECK(read.backing_mtime_ns == image.backing_mtime_ns);
  CHECK(read.backing_dirty);
  CHECK(store.catalogue->images().size() == 2);
  CHECK(store.catalogue->images()[0].name == "arch");
  CHECK(store.catalogue->version("arch", 1).state == "published");

  image.backing_dirty = false;
  image.writes.reset();
  store.catalogue->update_image(image);
  CHECK_FALSE(store.catalogue->image("arch").backing_dirty);
  CHECK_FALSE(store.catalogue->image("arch").writes);
}

TEST_CASE("catalogue: images that are refused change nothing") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  CHECK(error_of([&] { catalogue.add_image(image_record("debian")); }).code() == EEXIST);
  const auto refused = [&](auto change) {
    ImageRecord image = image_record("new");
    change(image);
    return error_of([&] { catalogue.add_image(image); }).code() == EINVAL;
  };
  CHECK(refused([](ImageRecord& image) { image.name = "../x"; }));
  CHECK(refused([](ImageRecord& image) { image.name = ""; }));
  CHECK(refused([](ImageRecord& image) { image.size = 0; }));
  CHECK(refused([](ImageRecord& image) { image.size = 513; }));
  CHECK(refused([](ImageRecord& image) { image.size = (1ULL << 62) + 512; }));
  CHECK(refused([](ImageRecord& image) { image.backing = ""; }));
  CHECK(refused([](ImageRecord& image) { image.description = "a\x1b[2J"; }));
  CHECK(refused([](ImageRecord& image) { image.description = "\xff\xfe"; }));
  CHECK(refused([](ImageRecord& image) { image.description = "\xc0\xaf"; }));
  CHECK(refused([](ImageRecord& image) { image.description = "\xed\xa0\x80"; }));
  CHECK(refused([](ImageRecord& image) { image.description = "cut \xe2\x82"; }));
  CHECK(refused([](ImageRecord& image) { image.description = std::string(5000, 'x'); }));
  CHECK(refused([](ImageRecord& image) { image.published = 2; }));
  CHECK(catalogue.images().size() == 1);

  const Error unknown = error_of([&] { catalogue.image("debain"); });
  CHECK(unknown.code() == ENOENT);
  CHECK(mentions(unknown, "did you mean \"debian\"?"));
  CHECK(error_of([&] { catalogue.update_image(image_record("new")); }).code() == ENOENT);
  ImageRecord unpublished = image_record("debian");
  unpublished.published = 2;
  CHECK(error_of([&] { catalogue.update_image(unpublished); }).code() == ENOENT);
  CHECK(error_of([&] { catalogue.remove_image("new"); }).code() == ENOENT);
}

TEST_CASE("catalogue: an image in use stays") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  StationRecord station = station_record("pc07");
  station.image = "debian";
  catalogue.update_station(station);
  const Error in_use = error_of([&] { catalogue.remove_image("debian"); });
  CHECK(in_use.code() == EBUSY);
  CHECK(mentions(in_use, "pc07"));
  station.image.reset();
  catalogue.update_station(station);
  catalogue.save_session(session_record("s1", "pc07", "debian"), {});
  CHECK(error_of([&] { catalogue.remove_image("debian"); }).code() == EBUSY);
  catalogue.remove_session("s1");
  catalogue.remove_image("debian");
  CHECK(catalogue.images().empty());
  CHECK(error_of([&] { catalogue.versions("debian"); }).code() == ENOENT);
}

TEST_CASE("catalogue: versions and their layers") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  LayerRecord first = layer_record("debian", "", 0);
  LayerRecord second = layer_record("debian", "", 1, first.uuid);
  first.state = second.state = "frozen";
  VersionRecord version{"debian", 2, "frozen", 2000, {first.uuid, second.uuid}};
  catalogue.add_version(version, {first, second});
  CHECK(catalogue.image("debian").published == 1);
  CHECK(catalogue.version("debian", 2).layers == version.layers);
  CHECK(catalogue.version("debian", 2).state == "frozen");
  CHECK(error_of([&] { catalogue.add_version(version, {}); }).code() == EEXIST);

  // The next version shares the layers; publishing it freezes the one before.
  const LayerRecord third = layer_record("debian", "", 2, second.uuid);
  catalogue.add_version({"debian", 3, "published", 3000, {first.uuid, second.uuid, third.uuid}},
                        {third});
  CHECK(catalogue.image("debian").published == 3);
  CHECK(catalogue.version("debian", 1).state == "frozen");
  CHECK(catalogue.version("debian", 3).state == "published");
  CHECK(catalogue.versions("debian").size() == 3);
  CHECK(catalogue.layers().size() == 3);

  // What fails leaves nothing behind.
  const LayerRecord stray = layer_record("debian", "", 3);
  CHECK(error_of([&] {
          catalogue.add_version({"debian", 4, "frozen", 1, {stray.uuid, random_uuid()}}, {stray});
        }).code() == ENOENT);
  CHECK_FALSE(catalogue.find_layer(stray.uuid));
  CHECK(error_of([&] { catalogue.version("debian", 4); }).code() == ENOENT);
  LayerRecord orphan = layer_record("debian", "", 3, random_uuid());
  CHECK(error_of([&] {
          catalogue.add_version({"debian", 4, "frozen", 1, {orphan.uuid}}, {orphan});
        }).code() == EINVAL);
  CHECK(error_of([&] {
          catalogue.add_version({"debian", 0, "frozen", 1, {}}, {});
        }).code() == EINVAL);
  CHECK(error_of([&] {
          catalogue.add_version({"debian", 4, "open", 1, {}}, {});
        }).code() == EINVAL);

  catalogue.remove_image("debian");
  CHECK(catalogue.layers().empty());
}

TEST_CASE("catalogue: a session's layer becomes a version's") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  LayerRecord layer = layer_record("debian", "s1", 0);
  catalogue.save_session(session_record("s1", "pc07", "debian"), {layer});
  layer.session.clear();
  layer.state = "frozen";
  catalogue.add_version({"debian", 2, "published", 1, {layer.uuid}}, {layer});
  CHECK(catalogue.session_layers("s1").empty());
  CHECK(catalogue.version("debian", 2).layers == std::vector{layer.uuid});
  catalogue.remove_session("s1");
  CHECK(catalogue.find_layer(layer.uuid));
}

TEST_CASE("catalogue: stations") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  StationRecord station = station_record("pc08");
  station.image = "debian";
  station.writes = Destination::client_ram;
  station.allow = {"10.0.0.0/8", "fd00::1"};
  station.comment = "by the window";
  catalogue.add_station(station);
  store.reopen();
  StationRecord read = store.catalogue->station("pc08");
  CHECK(read.image == "debian");
  CHECK(read.writes == Destination::client_ram);
  CHECK(read.allow == station.allow);
  CHECK(read.comment == station.comment);
  read.allow = {"::1"};
  read.writes.reset();
  read.image.reset();
  store.catalogue->update_station(read);
  read = store.catalogue->station("pc08");
  CHECK(read.allow == std::vector<std::string>{"::1"});
  CHECK_FALSE(read.writes);
  CHECK_FALSE(read.image);
  CHECK(store.catalogue->stations().size() == 2);

  CHECK(error_of([&] { store.catalogue->add_station(station_record("pc07")); }).code() == EEXIST);
  StationRecord bad = station_record("pc09");
  bad.image = "arch";
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == ENOENT);
  bad.image.reset();
  bad.allow = {"10.0.0.0/99"};
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == EINVAL);
  bad.allow = std::vector<std::string>(1000, "10.0.0.1");
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == EINVAL);
  CHECK(error_of([&] { store.catalogue->add_station(station_record("a/b")); }).code() == EINVAL);
  CHECK(error_of([&] { store.catalogue->update_station(station_record("pc10")); }).code() ==
        ENOENT);
  CHECK(mentions(error_of([&] { store.catalogue->station("pc77"); }), "did you mean"));
}

TEST_CASE("catalogue: a station in use stays") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord session = session_record("s1", "pc07", "debian");
  const LayerRecord layer = layer_record("debian", "s1", 0);
  catalogue.save_session(session, {layer});
  CHECK(error_of([&] { catalogue.remove_station("pc07"); }).code() == EBUSY);
  session.ended = 2000;
  catalogue.save_session(session, {layer});
  const Error at_rest = error_of([&] { catalogue.remove_station("pc07"); });
  CHECK(at_rest.code() == EBUSY);
  CHECK(mentions(at_rest, "--discard"));
  catalogue.save_session(session, {});
  catalogue.remove_station("pc07");
  CHECK_FALSE(catalogue.find_station("pc07"));
  CHECK(catalogue.sessions().empty());
  CHECK(error_of([&] { catalogue.remove_station("pc07"); }).code() == ENOENT);
}

TEST_CASE("catalogue: sessions and their stacks") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord session = session_record("s1", "pc07", "debian");
  session.token = "boot-1";
  session.writes = Destination::server_persistent;
  LayerRecord bottom = layer_record("debian", "s1", 0);
  LayerRecord top = layer_record("debian", "s1", 1, bottom.uuid);
  top.kind = "pass";
  top.destination = Destination::direct;
  catalogue.save_session(session, {bottom, top}, {{1000, "started", "from unix"}});
  store.reopen();
  const auto read = store.catalogue->find_session("s1");
  REQUIRE(read);
  CHECK(read->token == "boot-1");
  CHECK(read->writes == Destination::server_persistent);
  CHECK(read->station == "pc07");
  CHECK(read->ended == 0);
  auto layers = store.catalogue->session_layers("s1");
  CHECK(uuids(layers) == std::vector{bottom.uuid, top.uuid});
  CHECK(layers[1].kind == "pass");
  CHECK(layers[1].destination == Destination::direct);
  CHECK(layers[1].parent == bottom.uuid);

  // The bottom is merged away: what is left moves down.
  top.position = 0;
  top.parent.clear();
  store.catalogue->save_session(session, {top}, {{1001, "carried", ""}});
  CHECK(uuids(store.catalogue->session_layers("s1")) == std::vector{top.uuid});
  CHECK_FALSE(store.catalogue->find_layer(bottom.uuid));
  const auto history = store.catalogue->history("s1");
  REQUIRE(history.size() == 2);
  CHECK(history[0].event == "started");
  CHECK(history[0].detail == "from unix");
  CHECK(history[1].at == 1001);

  store.catalogue->remove_session("s1");
  CHECK(store.catalogue->layers().empty());
  CHECK(store.catalogue->history("s1").empty());
  CHECK(error_of([&] { store.catalogue->remove_session("s1"); }).code() == ENOENT);
}

TEST_CASE("catalogue: the session of a station") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord old = session_record("old", "pc07", "debian");
  old.started = 500;
  old.ended = 900;
  catalogue.save_session(session_record("new", "pc07", "debian"), {});
  catalogue.save_session(old, {});
  catalogue.save_session(session_record("other", "pc99", "debian"), {});
  catalogue.save_session(session_record("anonymous", "", "debian"), {});
  CHECK(catalogue.session_of("pc07", "debian")->id == "new");
  CHECK(catalogue.session_of("pc99", "debian")->id == "other");
  CHECK_FALSE(catalogue.session_of("pc07", "arch"));
  CHECK(catalogue.sessions().size() == 4);
}

TEST_CASE("catalogue: sessions that are refused change nothing") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  const LayerRecord layer = layer_record("debian", "s1", 0);
  const SessionRecord session = session_record("s1", "pc07", "debian");
  catalogue.save_session(session, {layer}, {{1, "started", ""}});
  const auto refusal = [&](const SessionRecord& bad, const std::vector<LayerRecord>& layers) {
    return error_of([&] { catalogue.save_session(bad, layers, {{2, "changed", ""}}); }).code();
  };
  CHECK(refusal(session_record("s1", "pc07", "arch"), {}) == ENOENT);
  SessionRecord bad = session;
  bad.version = 7;
  CHECK(refusal(bad, {}) == ENOENT);
  bad = session;
  bad.station = "../x";
  CHECK(refusal(bad, {}) == EINVAL);
  bad = session;
  bad.token = "a b";
  CHECK(refusal(bad, {}) == EINVAL);
  CHECK(refusal(session_record("a/b", "pc07", "debian"), {}) == EINVAL);
  CHECK(refusal(session, {layer, layer_record("debian", "s1", 0)}) == EINVAL);
  CHECK(refusal(session, {layer_record("debian", "s2", 0)}) == EINVAL);
  CHECK(refusal(session, {layer_record("arch", "s1", 0)}) == EINVAL);
  LayerRecord odd = layer_record("debian", "s1", 0);
  odd.kind = "other";
  CHECK(refusal(session, {odd}) == EINVAL);
  odd = layer_record("debian", "s1", 0);
  odd.state = "lost";
  CHECK(refusal(session, {odd}) == EINVAL);
  LayerRecord taken = layer;
  taken.session = "s2";
  CHECK(refusal(session_record("s2", "pc07", "debian"), {taken}) == EEXIST);
  LayerRecord unsafe = layer_record("debian", "s1", 0);
  unsafe.uuid = "../../../../etc/passwd";
  CHECK(refusal(session, {unsafe}) != 0);

  CHECK(uuids(catalogue.session_layers("s1")) == std::vector{layer.uuid});
  CHECK(catalogue.history("s1").size() == 1);
  CHECK(catalogue.sessions().size() == 1);
}

TEST_CASE("catalogue: history is kept, the last thousand events") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  const SessionRecord session = session_record("s1", "pc07", "debian");
  const SessionRecord other = session_record("s2", "pc08", "debian");
  catalogue.save_session(other, {}, {{0, "started", ""}});
  std::vector<HistoryRecord> events;
  for (int at = 1; at <= 1200; ++at) events.push_back({at, "redirected", ""});
  catalogue.save_session(session, {}, events);
  const auto history = catalogue.history("s1");
  REQUIRE(history.size() == 1000);
  CHECK(history.front().at == 201);
  CHECK(history.back().at == 1200);
  CHECK(catalogue.history("s2").size() == 1);
}

TEST_CASE("catalogue: parameters") {
  Fixture store;
  CHECK(store.catalogue->parameter("session-grace") == "30");
  store.catalogue->set_parameter("session-grace", "120");
  store.catalogue->set_parameter("session-grace", "121");
  store.reopen();
  CHECK(store.catalogue->parameter("session-grace") == "121");
  CHECK(error_of([&] { store.catalogue->set_parameter("session-grace", "-1"); }).code() == EINVAL);
  CHECK(error_of([&] { store.catalogue->set_parameter("grace", "1"); }).code() == ENOENT);
  CHECK(error_of([&] { store.catalogue->parameter("grace"); }).code() == ENOENT);
  CHECK(store.catalogue->parameter("session-grace") == "121");
}

TEST_CASE("catalogue: used from many threads") {
  Fixture store;
  Catalogue& catalogue = *store.catalogue;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&catalogue, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string id = "s" + std::to_string(t) + "-" + std::to_string(i);
        const LayerRecord layer = layer_record("debian", id, 0);
        catalogue.save_session(session_record(id, "pc07", "debian"), {layer});
        catalogue.sessions();
        if (i % 2 == 0) catalogue.remove_session(id);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(catalogue.sessions().size() == 4 * 12);
  CHECK(catalogue.layers().size() == 4 * 12);
}

}  // namespace plydisk
