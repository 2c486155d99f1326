// At a server: versions of which a station sends a part.
#include <thread>

#include "store_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::StoreFixture;

namespace {

constexpr std::uint64_t piece = 4096;

struct StationVersionFixture : StoreFixture {
  const ExportName name = parse_export_name("img@pc+token");
  std::unique_ptr<Store::Connection> disk;

  StationVersionFixture() {
    add_station("pc", Destination::server_volatile);
    disk = connect("img@pc+token");
  }
  void at_server(char value, std::uint64_t number) const { put(*disk, value, number * piece); }
  void freeze(const Store::StationVersion& version, bool goes_on) const {
    store->freeze_for_station(name, {}, version.number(), goes_on);
  }
  std::shared_ptr<VersionUpload> upload(const Store::StationVersion& version) const {
    return store->version_upload(name, {}, version.number());
  }
  void send(const Store::StationVersion& version, char value, std::uint64_t number) const {
    const std::vector<char> bytes(piece, value);
    upload(version)->write(bytes.data(), bytes.size(), number * piece);
  }
  void redirect(const char* writes) const {
    RedirectOptions options;
    options.by_station = true;
    options.writer = "station";
    store->redirect("pc", WritePlan(writes), options, {});
  }
  std::string read(unsigned version, unsigned pieces) const {
    const auto reader = store->connect(
        parse_export_name("img:" + std::to_string(version) + "@r" + std::to_string(version)), {},
        true);
    std::string text;
    for (unsigned i = 0; i < pieces; ++i) {
      const char value = get(*reader, i * piece);
      text += value == 0 ? '-' : value;
    }
    return text;
  }
  std::size_t folders() const {
    const std::filesystem::directory_iterator layers(path() / "layers");
    return static_cast<std::size_t>(std::distance(begin(layers), end(layers)));
  }
};

}  // namespace

TEST_CASE_FIXTURE(StationVersionFixture, "what the station sends alone is the version") {
  const auto version = store->begin_station_version("img", "pc");
  REQUIRE(version);
  CHECK(version->session().station == "pc");
  freeze(*version, false);
  send(*version, 'a', 1);
  upload(*version)->zero(2 * piece, piece);
  upload(*version)->end();
  const VersionRecord made = version->finish(2 * piece, {});
  CHECK(made.number == 2);
  CHECK(made.layers.size() == 1);
  CHECK(folders() == 1);
  CHECK(read(2, 4) == "-a--");
}

TEST_CASE_FIXTURE(StationVersionFixture, "what was written here meanwhile covers what is sent") {
  for (std::uint64_t i : {0U, 1U, 2U}) at_server('o', i);
  const auto version = store->begin_station_version("", "pc");
  freeze(*version, true);
  at_server('n', 2);
  at_server('n', 3);
  freeze(*version, false);
  for (std::uint64_t i : {0U, 2U, 3U, 4U, 5U}) at_server('l', i);
  for (std::uint64_t i : {1U, 2U, 4U}) send(*version, 's', i);
  upload(*version)->end();
  std::uint64_t told = 0;
  CHECK(version->finish(3 * piece, [&](std::uint64_t, std::uint64_t) { ++told; }).number == 2);
  CHECK(read(2, 6) == "osnns-");
  CHECK(get(*disk, 0) == 'l');
  CHECK(get(*disk, piece) == 'o');
}

TEST_CASE_FIXTURE(StationVersionFixture,
                  "while writes stay at the station, what it sends covers all") {
  at_server('o', 0);
  at_server('o', 1);
  redirect("client-ram");
  const auto version = store->begin_station_version("img", "pc");
  freeze(*version, false);
  // It goes back to the layer that it left, which is a part of the version now.
  redirect("server-volatile");
  at_server('l', 0);
  send(*version, 's', 1);
  upload(*version)->end();
  version->finish(piece, {});
  CHECK(read(2, 3) == "os-");
  CHECK(get(*disk, 0) == 'l');
}

TEST_CASE_FIXTURE(StationVersionFixture, "what does not come to its end leaves nothing") {
  at_server('o', 0);
  const std::size_t before = folders();
  SUBCASE("it is given up") {
    auto version = store->begin_station_version("img", "pc");
    const auto kept = upload(*version);
    send(*version, 's', 1);
    version.reset();
    const char some[512] = {};
    CHECK(error_of([&] { kept->write(some, sizeof some, 0); }).code() == ESTALE);
  }
  SUBCASE("the station says why it does not come") {
    const auto version = store->begin_station_version("img", "pc");
    upload(*version)->fail(EIO, "its disk is broken");
    upload(*version)->fail(EINVAL, "and more");
    CHECK(mentions(error_of([&] { version->finish(piece, {}); }), "is broken"));
  }
  SUBCASE("it was not all") {
    const auto version = store->begin_station_version("img", "pc");
    send(*version, 's', 1);
    upload(*version)->end();
    CHECK(error_of([&] { version->finish(2 * piece, {}); }).code() == EIO);
  }
  SUBCASE("nobody has said what it lies on") {
    const auto version = store->begin_station_version("img", "pc");
    upload(*version)->end();
    CHECK(error_of([&] { version->finish(0, {}); }).code() == EPROTO);
  }
  SUBCASE("who asked for it is gone") {
    const auto version = store->begin_station_version("img", "pc");
    const auto cancel = [](std::uint64_t, std::uint64_t) { throw Error(ECANCELED, "gone"); };
    CHECK(error_of([&] { version->finish(piece, cancel); }).code() == ECANCELED);
  }
  SUBCASE("the server is killed") {
    const auto version = store->begin_station_version("img", "pc");
    send(*version, 's', 1);
    std::filesystem::copy(path(), directory.path() / "copy",
                          std::filesystem::copy_options::recursive);
    StoreOptions options;
    options.boot_id = "boot-1";
    const auto copy = Store::open(directory.path() / "copy", options);
    CHECK(copy->collect_garbage(true, true).unknown.empty());
    const std::filesystem::directory_iterator left(directory.path() / "copy" / "layers");
    CHECK(std::distance(begin(left), end(left)) == 1);
  }
  CHECK(store->catalogue().versions("img").size() == 1);
  CHECK(folders() == before);
  CHECK(store->freeze_version("img", "pc", {}).number == 2);
}

TEST_CASE_FIXTURE(StationVersionFixture, "what is not the station's, or not now, is refused") {
  const auto version = store->begin_station_version("img", "pc");
  CHECK(error_of([&] { store->begin_station_version("img", "pc"); }).code() == EBUSY);
  CHECK(error_of([&] { store->freeze_version("img", "pc", {}); }).code() == EBUSY);
  CHECK(error_of([&] { store->version_upload(name, {}, version->number() + 1); }).code() == ESTALE);
  CHECK(error_of([&] {
          store->version_upload(parse_export_name("img@pc+other"), {}, version->number());
        }).code() == ENOENT);
  const char some[512] = {};
  CHECK(error_of([&] { upload(*version)->write(some, 100, 0); }).code() == EINVAL);
  CHECK(error_of([&] { upload(*version)->write(some, 512, 100); }).code() == EINVAL);
  CHECK(error_of([&] { upload(*version)->zero(0, 16 << 20); }).code() == EINVAL);
  freeze(*version, false);
  CHECK(error_of([&] { freeze(*version, false); }).code() == EINVAL);
  // The image would be changed below the version.
  add_station("writer", Destination::direct);
  CHECK(error_of([&] { connect("img@writer"); }).code() == EBUSY);
  // A plain client has nothing that the server has not.
  const auto plain = connect("img@plain");
  Store::NewImage other;
  other.name = "other";
  other.size = 1 << 20;
  store->create_image(other, {});
  const auto elsewhere = connect("other@plain2");
  put(*elsewhere, 'p');
  CHECK_FALSE(store->begin_station_version("other", "plain2"));
}
