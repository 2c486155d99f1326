// The store's rules: who is let in, what survives, what is refused.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/file.hpp"
#include "store_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::StoreFixture;

TEST_CASE_FIXTURE(StoreFixture, "a connection alone makes nothing") {
  const auto connection = connect("img@pc");
  CHECK(get(*connection) == 0);
  CHECK(store->layers().empty());
  CHECK(store->catalogue().sessions().empty());
  put(*connection, 'a');
  CHECK(store->layers().size() == 1);
}

TEST_CASE_FIXTURE(StoreFixture, "stations share an image and not their writes") {
  const auto one = connect("img@one");
  const auto two = connect("img@two");
  put(*one, '1');
  CHECK(get(*two) == 0);
  put(*two, '2');
  CHECK(get(*one) == '1');
  const auto again = connect("img@one");
  CHECK(get(*again) == '1');
  CHECK(again->multi_conn());
}

TEST_CASE_FIXTURE(StoreFixture, "unnamed connections have a disk each") {
  const auto one = connect("img");
  const auto two = connect("img");
  put(*one, '1');
  CHECK(get(*two) == 0);
  CHECK_FALSE(one->multi_conn());
}

TEST_CASE_FIXTURE(StoreFixture, "volatile is clean at the next session, persistent is as left") {
  add_station("v", Destination::server_volatile);
  add_station("p", Destination::server_persistent);
  for (const char* station : {"v", "p"}) {
    put(*connect("img@" + std::string(station)), 'x');
    store->end_session(station, false);
  }
  CHECK(get(*connect("img@v")) == 0);
  CHECK(get(*connect("img@p")) == 'x');
}

TEST_CASE_FIXTURE(StoreFixture, "a session goes on over a restart of the server, volatile or not") {
  put(*connect("img@pc"), 'v');
  open("boot-1");
  CHECK(get(*connect("img@pc")) == 'v');
}

TEST_CASE_FIXTURE(StoreFixture, "a reboot of the server's machine ends its sessions") {
  add_station("p", Destination::server_persistent);
  put(*connect("img@v"), 'v');
  {
    const auto persistent = connect("img@p");
    put(*persistent, 'p');
    persistent->disk().flush();
  }
  open("boot-2");
  CHECK(get(*connect("img@v")) == 0);
  CHECK(get(*connect("img@p")) == 'p');
}

TEST_CASE_FIXTURE(StoreFixture, "a persistent layer above a volatile one goes with it") {
  const auto connection = connect("img@pc");
  put(*connection, 'v');
  const auto result = store->redirect("pc", Destination::server_persistent, {}, {});
  CHECK_FALSE(result.survives);
  put(*connection, 'p', 65536);
  CHECK(get(*connection) == 'v');
  store->end_session("pc", false);
  CHECK(error_of([&] { get(*connection); }).code() == ESHUTDOWN);
  const auto next = connect("img@pc");
  CHECK(get(*next) == 0);
  CHECK(get(*next, 65536) == 0);
}

TEST_CASE_FIXTURE(StoreFixture, "carry brings volatile writes into what survives") {
  const auto connection = connect("img@pc");
  put(*connection, 'v');
  const auto result = store->redirect("pc", Destination::server_persistent, {true, false}, {});
  CHECK(result.survives);
  CHECK(result.carried == 4096);
  store->end_session("pc", false);
  CHECK(get(*connect("img@pc")) == 'v');
}

TEST_CASE_FIXTURE(StoreFixture, "what a station writes to is taken over at its next session") {
  add_station("pc", Destination::server_volatile);
  const auto connection = connect("img@pc");
  put(*connection, 'v');
  store->catalogue().change_station(
      "pc", [](StationRecord& station) { station.writes = Destination::server_persistent; });
  put(*connection, 'w');
  CHECK(store->session("pc").record.writes == Destination::server_volatile);
  store->end_session("pc", false);
  const auto next = connect("img@pc");
  CHECK(get(*next) == 0);
  put(*next, 'p');
  CHECK(store->session("pc").persistent);
}

TEST_CASE_FIXTURE(StoreFixture, "direct has the image alone") {
  add_station("boss", Destination::direct);
  {
    const auto other = connect("img@other");
    CHECK(error_of([&] { connect("img@boss"); }).code() == EBUSY);
    put(*other, 'o');
    const auto third = connect("img@third");
    const Error error = error_of([&] {
      store->redirect("other", Destination::direct, {true, false}, {});
    });
    CHECK(error.code() == EBUSY);
    CHECK(mentions(error, "third"));
  }
  store->end_session("other", false);
  store->end_session("third", false);
  const auto boss = connect("img@boss");
  CHECK(error_of([&] { connect("img@other"); }).code() == EBUSY);
  put(*boss, 'd');
  boss->disk().flush();
  store->end_session("boss", false);
  CHECK(get(*connect("img@other")) == 'd');
}

TEST_CASE_FIXTURE(StoreFixture, "direct is refused where it would break persistent layers") {
  add_station("p", Destination::server_persistent);
  add_station("boss", Destination::direct);
  put(*connect("img@p"), 'p');
  store->end_session("p", false);
  const Error error = error_of([&] { connect("img@boss"); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, "--discard"));
  store->end_session("p", true);
  put(*connect("img@boss"), 'd');
}

TEST_CASE_FIXTURE(StoreFixture, "direct over written layers needs carry or force") {
  const auto connection = connect("img@pc");
  put(*connection, 'v');
  CHECK(error_of([&] { store->redirect("pc", Destination::direct, {}, {}); }).code() == EBUSY);
  store->redirect("pc", Destination::direct, {true, false}, {});
  put(*connection, 'd', 65536);
  CHECK(store->session("pc").layers.empty());
  store->end_session("pc", false);
  const auto next = connect("img@other");
  CHECK(get(*next) == 'v');
  CHECK(get(*next, 65536) == 'd');
}

// As a power cut in the middle of --carry leaves it.
TEST_CASE_FIXTURE(StoreFixture, "direct writes that belong with layers hold the image") {
  add_station("p", Destination::server_persistent);
  {
    const auto connection = connect("img@p");
    put(*connection, 'p');
    store->redirect("p", Destination::direct, {false, true}, {});
    put(*connection, 'd', 65536);
    store->redirect("p", Destination::server_persistent, {}, {});
    CHECK(mentions(error_of([&] { connect("img@other"); }), "direct --carry"));
  }
  open("boot-2");
  const Error held = error_of([&] { connect("img@other"); });
  CHECK(held.code() == EBUSY);
  CHECK(mentions(held, "--discard"));

  SUBCASE("until they are moved into it") {
    {
      const auto connection = connect("img@p");
      put(*connection, 'e', 131072);
      store->redirect("p", Destination::direct, {true, false}, {});
    }
    store->end_session("p", false);
    const auto other = connect("img@other");
    CHECK(get(*other) == 'p');
    CHECK(get(*other, 65536) == 'd');
    CHECK(get(*other, 131072) == 'e');
  }
  SUBCASE("or discarded") {
    store->end_session("p", true);
    const auto other = connect("img@other");
    CHECK(get(*other) == 0);
    CHECK(get(*other, 65536) == 'd');
  }
}

TEST_CASE_FIXTURE(StoreFixture, "a merged layer that has direct writes holds the image too") {
  {
    const auto connection = connect("img@p");
    put(*connection, 'v');
    store->redirect("p", Destination::direct, {false, true}, {});
    put(*connection, 'd', 65536);
    store->redirect("p", Destination::server_persistent, {true, false}, {});
    CHECK(get(*connection, 65536) == 'd');
    put(*connection, 'p', 65536);
  }
  store->end_session("p", false);
  CHECK(error_of([&] { connect("img@other"); }).code() == EBUSY);
  const auto connection = connect("img@p");
  CHECK(get(*connection) == 'v');
  CHECK(get(*connection, 65536) == 'p');
}

TEST_CASE_FIXTURE(StoreFixture,
                  "what is wrong with an image is told to a direct station at connect") {
  add_station("boss", Destination::direct);
  const File other = File::open(path() / "images" / "img" / "disk", O_RDONLY);
  REQUIRE(::flock(other.fd(), LOCK_SH) == 0);
  const Error error = error_of([&] { connect("img@boss"); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, "another process"));
  connect("img@pc");
  store->end_session("pc", false);
  REQUIRE(::flock(other.fd(), LOCK_UN) == 0);
  put(*connect("img@boss"), 'd');
}

TEST_CASE_FIXTURE(StoreFixture, "a session keeps its image until it ends") {
  Store::NewImage image;
  image.name = "second";
  image.size = 1 << 20;
  store->create_image(image, {});
  add_station("pc", {});
  const auto set_image = [&](const char* name) {
    store->catalogue().change_station("pc", [&](StationRecord& pc) { pc.image = name; });
  };
  set_image("img");
  put(*connect("@pc"), 'v');
  set_image("second");
  CHECK(get(*connect("@pc")) == 'v');
  CHECK(get(*connect("img@pc")) == 'v');
  CHECK(error_of([&] { connect("third@pc"); }).code() == EACCES);
  open("boot-1");  // the server was restarted, and the system goes on
  CHECK(get(*connect("@pc")) == 'v');
  SUBCASE("by the administrator") {
    store->end_session("pc", false);
    CHECK(connect("@pc")->image() == "second");
    CHECK(error_of([&] { connect("img@pc"); }).code() == EACCES);
  }
  SUBCASE("by a boot of the machine") {
    open("boot-2");
    CHECK(connect("@pc")->image() == "second");
  }
}

TEST_CASE_FIXTURE(StoreFixture, "layers that the catalogue does not know are left alone") {
  const auto layers = path() / "layers";
  const auto foreign = layers / "11111111-2222-4333-8444-555555555555";
  std::filesystem::create_directory(foreign);
  File::open(foreign / "data", O_RDWR | O_CREAT).write("precious", 8, 0);
  put(*connect("img@pc"), 'v');
  const std::string uuid = store->layers().at(0).record.uuid;
  // As if a crash had come after the record was removed, and before the files were.
  store.reset();
  std::filesystem::copy(layers / uuid, directory.path() / "copy");
  open("boot-1");
  store->end_session("pc", true);
  CHECK_FALSE(std::filesystem::exists(layers / uuid));
  store->catalogue().announce_layer(uuid);
  std::filesystem::copy(directory.path() / "copy", layers / uuid);
  open("boot-1");
  CHECK_FALSE(std::filesystem::exists(layers / uuid));
  CHECK(std::filesystem::exists(foreign / "data"));
  CHECK(store->catalogue().doomed_layers().empty());

  store.reset();
  std::filesystem::remove(path() / "catalogue.sqlite");
  std::filesystem::remove(path() / "catalogue.sqlite-wal");
  const Error error = error_of([&] { Store::init(path()); });
  CHECK(error.code() == EEXIST);
  CHECK(mentions(error, "backup"));
  CHECK(std::filesystem::exists(foreign / "data"));
}

TEST_CASE_FIXTURE(StoreFixture, "a redirection opens a layer, and many are folded") {
  const auto connection = connect("img@pc");
  for (unsigned i = 0; i < 100; ++i) {
    put(*connection, static_cast<char>('a' + i % 26), i * 4096);
    store->redirect(
        "pc", i % 2 == 0 ? Destination::server_persistent : Destination::server_volatile, {}, {});
  }
  CHECK(store->session("pc").layers.size() < 40);
  for (unsigned i = 0; i < 100; ++i)
    REQUIRE(get(*connection, i * 4096) == static_cast<char>('a' + i % 26));
}

TEST_CASE_FIXTURE(StoreFixture, "a session ends when its grace is over") {
  store->catalogue().set_parameter("session-grace", "0");
  put(*connect("img@pc"), 'v');
  for (unsigned i = 0; i < 100 && !store->sessions().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(store->sessions().empty());
  CHECK(store->layers().empty());
}

TEST_CASE_FIXTURE(StoreFixture, "a second process is told who has the store") {
  const Error error = error_of([&] { Store::open(path()); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, std::to_string(::getpid())));
}

TEST_CASE_FIXTURE(StoreFixture,
                  "a backing that was changed, shrank or went is refused, and can be accepted") {
  const auto file = directory.path() / "linked.img";
  File::open(file, O_RDWR | O_CREAT).truncate(1 << 20);
  Store::NewImage image;
  image.name = "linked";
  image.from = file.string();
  image.link = true;
  store->create_image(image, {});
  connect("linked@pc");
  store->end_session("linked@pc", false);

  File::open(file, O_RDWR).write("changed", 7, 0);
  CHECK(mentions(error_of([&] { connect("linked@pc"); }), "changed by somebody else"));
  CHECK(store->image("linked").state != "ok");
  connect("img@pc");  // others are served
  store->accept_image("linked");
  CHECK(get(*connect("linked@pc")) == 'c');
  store->end_session("linked@pc", false);

  File::open(file, O_RDWR).truncate(1 << 19);
  CHECK(mentions(error_of([&] { connect("linked@pc"); }), "shrank"));
  std::filesystem::remove(file);
  CHECK(mentions(error_of([&] { connect("linked@pc"); }), "missing"));
}

TEST_CASE_FIXTURE(StoreFixture, "an image in use is not removed") {
  auto connection = connect("img@pc");
  CHECK(error_of([&] { store->remove_image("img"); }).code() == EBUSY);
  connection.reset();
  store->end_session("pc", false);
  store->remove_image("img");
  CHECK(store->images().empty());
  CHECK_FALSE(std::filesystem::exists(path() / "images" / "img"));
}

TEST_CASE_FIXTURE(StoreFixture, "a station's newer connections shut out its older ones") {
  const Peer far{false, "10.0.0.1"}, moved{false, "10.0.0.2"};
  store->catalogue().set_parameter("unknown-stations", "allow");
  const auto old = connect("img@pc+token.5", far);
  const auto beside = connect("img@pc+token.5", far);
  const auto write = [](Store::Connection& connection, char value) {
    connection.disk().write(&value, 1, 0, false, connection.gate());
  };
  write(*old, 'a');
  write(*beside, 'b');
  const auto newer = connect("img@pc+token.6", moved);
  CHECK(get(*newer) == 'b');
  write(*newer, 'c');
  for (const auto* connection : {&old, &beside}) {
    CHECK(error_of([&] { write(**connection, 'x'); }).code() == ESHUTDOWN);
    CHECK(error_of([&] {
            (*connection)->disk().zero(0, 4096, true, false, (*connection)->gate());
          }).code() == ESHUTDOWN);
  }
  CHECK(get(*newer) == 'c');
  CHECK(error_of([&] { connect("img@pc+token.5", moved); }).code() == ESTALE);
  CHECK(error_of([&] { connect("img@pc+token.6", far); }).code() == EBUSY);
  // With another token the station has booted again: that is another session.
  const auto booted = connect("img@pc+other.1", moved);
  CHECK(get(*booted) == 0);
  CHECK(error_of([&] { write(*newer, 'x'); }).code() == ESHUTDOWN);
}

TEST_CASE_FIXTURE(StoreFixture, "a station that has written is not given another session") {
  put(*connect("img@pc+token.1"), 'a');
  CHECK(get(*connect("img@pc+token.2.r")) == 'a');
  CHECK(error_of([&] { connect("img@pc+other.3.r"); }).code() == ESTALE);
  open("boot-1");
  CHECK(get(*connect("img@pc+token.4.r")) == 'a');
  store->end_session("pc", false);
  CHECK(error_of([&] { connect("img@pc+token.5.r"); }).code() == ESTALE);
  CHECK(get(*connect("img@pc+token.6")) == 0);
}
