#include <fcntl.h>

#include <fstream>
#include <thread>

#include "base/file.hpp"
#include "catalogue_fixture.hpp"

namespace plydisk {

using test::CatalogueFixture;
using test::error_of;
using test::image_record;
using test::layer_record;
using test::mentions;
using test::session_record;
using test::station_record;
using test::TemporaryDirectory;

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

TEST_CASE("catalogue: another format is refused and left alone") {
  CatalogueFixture store;
  const char *format = nullptr, *remedy = nullptr;
  SUBCASE("newer") {
    format = "9";
    remedy = "newer plydisk";
  }
  SUBCASE("older") {
    format = "1";
    remedy = "make a new one";
  }
  store.edit(("UPDATE meta SET value='" + std::string(format) + "' WHERE key='format'").c_str());
  const std::string before = read_text_file(store.file());
  const Error error = store.open_error();
  CHECK(error.code() == EPROTONOSUPPORT);
  CHECK(mentions(error, "has format " + std::string(format)));
  CHECK(mentions(error, remedy));
  CHECK(read_text_file(store.file()) == before);
}

TEST_CASE("catalogue: files that are no catalogue") {
  CatalogueFixture store;
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
  CatalogueFixture store;
  // The files as a crash leaves them, with the log not yet merged.
  TemporaryDirectory copy;
  for (const char* name : {"catalogue.sqlite", "catalogue.sqlite-wal"})
    std::filesystem::copy_file(store.directory.path() / name, copy.path() / name);
  Catalogue catalogue(copy.path());
  CHECK(catalogue.image("debian").size == 1 << 20);
  CHECK(catalogue.station("pc07").name == "pc07");
}

TEST_CASE("catalogue: images") {
  CatalogueFixture store;
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

  const ImageRecord changed = store.catalogue->change_image("arch", [](ImageRecord& record) {
    record.backing_dirty = false;
    record.writes.reset();
  });
  CHECK_FALSE(changed.writes);
  CHECK_FALSE(store.catalogue->image("arch").backing_dirty);
  CHECK_FALSE(store.catalogue->image("arch").writes);
}

TEST_CASE("catalogue: images that are refused change nothing") {
  CatalogueFixture store;
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
  const auto change = [&](const std::string& name, auto how) {
    return error_of([&] { catalogue.change_image(name, how); }).code();
  };
  CHECK(change("new", [](ImageRecord&) {}) == ENOENT);
  CHECK(change("debian", [](ImageRecord& image) { image.published = 2; }) == ENOENT);
  CHECK(change("debian", [](ImageRecord& image) { image.description = "\x1b"; }) == EINVAL);
  CHECK(catalogue.image("debian").description.empty());
  CHECK(error_of([&] { catalogue.remove_image("new"); }).code() == ENOENT);
}

TEST_CASE("catalogue: an image in use stays") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  catalogue.change_station("pc07", [](StationRecord& station) { station.image = "debian"; });
  const Error in_use = error_of([&] { catalogue.remove_image("debian"); });
  CHECK(in_use.code() == EBUSY);
  CHECK(mentions(in_use, "pc07"));
  catalogue.change_station("pc07", [](StationRecord& station) { station.image.reset(); });
  catalogue.save_session(session_record("s1", "pc07", "debian"), {});
  CHECK(error_of([&] { catalogue.remove_image("debian"); }).code() == EBUSY);
  catalogue.remove_session("s1");
  catalogue.remove_image("debian");
  CHECK(catalogue.images().empty());
  CHECK(error_of([&] { catalogue.versions("debian"); }).code() == ENOENT);
}

TEST_CASE("catalogue: versions and their layers") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  LayerRecord first = layer_record("debian", "", 0);
  LayerRecord second = layer_record("debian", "", 1, first.uuid);
  first.state = second.state = "frozen";
  VersionRecord version;
  version.image = "debian";
  version.state = "frozen";
  version.base = 1;
  version.created = 2000;
  version.layers = {first.uuid, second.uuid};
  CHECK(catalogue.add_version(version, {first, second}) == 2);
  CHECK(catalogue.image("debian").published == 1);
  CHECK(catalogue.version("debian", 2).layers == version.layers);
  CHECK(catalogue.version("debian", 2).state == "frozen");
  catalogue.comment_version("debian", 2, "with LibreOffice");
  CHECK(catalogue.version("debian", 2).comment == "with LibreOffice");
  CHECK(error_of([&] { catalogue.comment_version("debian", 9, ""); }).code() == ENOENT);
  CHECK(error_of([&] { catalogue.comment_version("debian", 2, "\x1b"); }).code() == EINVAL);
  CHECK(catalogue.version("debian", 2).comment == "with LibreOffice");

  // The next version shares the layers; publishing it freezes the one before.
  const LayerRecord third = layer_record("debian", "", 2, second.uuid);
  version.state = "published";
  version.layers.push_back(third.uuid);
  CHECK(catalogue.add_version(version, {third}) == 3);
  CHECK(catalogue.image("debian").published == 3);
  CHECK(catalogue.version("debian", 1).state == "frozen");
  CHECK(catalogue.version("debian", 3).state == "published");
  CHECK(catalogue.versions("debian").size() == 3);
  CHECK(catalogue.layers().size() == 3);

  // What fails leaves nothing behind.
  const LayerRecord stray = layer_record("debian", "", 3);
  version.layers = {stray.uuid, random_uuid()};
  CHECK(error_of([&] { catalogue.add_version(version, {stray}); }).code() == ENOENT);
  CHECK_FALSE(catalogue.find_layer(stray.uuid));
  CHECK(error_of([&] { catalogue.version("debian", 4); }).code() == ENOENT);
  LayerRecord orphan = layer_record("debian", "", 3, random_uuid());
  version.layers = {orphan.uuid};
  CHECK(error_of([&] { catalogue.add_version(version, {orphan}); }).code() == EINVAL);
  version.layers.clear();
  version.state = "retired";
  CHECK(error_of([&] { catalogue.add_version(version, {}); }).code() == EINVAL);

  catalogue.remove_image("debian");
  CHECK(catalogue.layers().empty());
}

TEST_CASE("catalogue: a session's layer becomes a version's") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  LayerRecord layer = layer_record("debian", "s1", 0);
  catalogue.save_session(session_record("s1", "pc07", "debian"), {layer});
  layer.session.clear();
  layer.state = "frozen";
  VersionRecord version;
  version.image = "debian";
  version.state = "published";
  version.layers = {layer.uuid};
  catalogue.add_version(version, {layer});
  CHECK(catalogue.session_layers("s1").empty());
  CHECK(catalogue.version("debian", 2).layers == std::vector{layer.uuid});
  catalogue.remove_session("s1");
  CHECK(catalogue.find_layer(layer.uuid));
}

TEST_CASE("catalogue: parameters") {
  CatalogueFixture store;
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
  CatalogueFixture store;
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
