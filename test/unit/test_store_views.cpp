// Disks to look at, and what is told to those who follow a store.
#include <chrono>
#include <thread>

#include "store_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::StoreFixture;

namespace {

char at(const DiskView& view, std::uint64_t offset = 0) {
  char value = 0;
  view.stack->read(&value, 1, offset);
  return value;
}

// What has happened to one topic since an event.
std::vector<std::string> happened(Store& store, Topic topic, std::uint64_t since = 0) {
  std::vector<std::string> events;
  for (const Event& event : store.catalogue().events().since(since))
    if (event.topic == topic) events.push_back(event.event);
  return events;
}

}  // namespace

TEST_CASE_FIXTURE(StoreFixture, "a view stays as it was while the session writes on") {
  for (const char* writes : {"server-volatile", "server-persistent"}) {
    add_station(writes, parse_destination(writes));
    const auto connection = connect(std::string("img@") + writes);
    put(*connection, 'a');
    const DiskView first = store->view_session(writes);
    CHECK(first.moment != 0);
    put(*connection, 'b');
    put(*connection, 'c', 65536);
    const DiskView second = store->view_session(writes);
    put(*connection, 'd');
    CHECK(at(first) == 'a');
    CHECK(at(first, 65536) == 0);
    CHECK(at(second) == 'b');
    CHECK(at(second, 65536) == 'c');
    CHECK(get(*connection) == 'd');
    CHECK(store->session(writes).record.writes == parse_destination(writes));
  }
}

TEST_CASE_FIXTURE(StoreFixture, "a view's files have its bytes, each at its place") {
  const auto connection = connect("img@pc");
  put(*connection, 'a', 65536);
  const DiskView view = store->view_session("pc");
  const auto files = view.stack->files();
  REQUIRE(files.size() == 2);
  unsigned found = 0;
  view.stack->for_each_place(0, view.stack->version->size(),
                             [&](Source source, std::uint64_t offset, std::uint64_t length) {
                               CHECK((number_of(source, files) < 0) == source.is_zeros());
                               if (source.is_zeros()) return;
                               std::vector<char> here(length), there(length);
                               files[static_cast<unsigned>(number_of(source, files))].file->read(
                                   here.data(), length, offset);
                               view.stack->read(there.data(), length, offset);
                               CHECK(here == there);
                               found +=
                                   offset <= 65536 && offset + length > 65536 && source.is_file();
                             });
  CHECK(found == 1);
}

TEST_CASE_FIXTURE(StoreFixture, "views of a session that writes nothing make no layers") {
  const auto connection = connect("img@pc");
  CHECK(at(store->view_session("pc")) == 0);
  CHECK(store->layers().empty());
  put(*connection, 'a');
  store->view_session("pc");
  const std::size_t layers = store->layers().size();
  for (unsigned i = 0; i < 5; ++i) CHECK(at(store->view_session("pc")) == 'a');
  CHECK(store->layers().size() == layers);
}

TEST_CASE_FIXTURE(StoreFixture, "a view outlives many more, and the end of its session") {
  auto connection = connect("img@pc");
  put(*connection, 'a');
  const DiskView first = store->view_session("pc");
  for (unsigned i = 0; i < 30; ++i) {
    put(*connection, static_cast<char>('b' + i % 20));
    store->view_session("pc");
  }
  CHECK(store->session("pc").layers.size() < 15);
  CHECK(at(first) == 'a');
  store->end_session("pc", true);
  CHECK(store->layers().empty());
  CHECK(at(first) == 'a');
}

TEST_CASE_FIXTURE(StoreFixture, "what is left of a session can be viewed, and lived on") {
  add_station("pc", Destination::server_persistent);
  put(*connect("img@pc"), 'a');
  store->end_session("pc", false);
  {
    const DiskView view = store->view_session("pc");
    CHECK(at(view) == 'a');
    const auto connection = connect("img@pc");
    put(*connection, 'b');
    CHECK(at(view) == 'a');
    CHECK(get(*connection) == 'b');
    store->end_session("pc", false);
    CHECK(at(view) == 'a');
    CHECK(at(store->view_session("pc")) == 'b');
  }
  // Nobody looks any more: the layer on top is written on.
  const std::size_t layers = store->layers().size();
  put(*connect("img@pc"), 'c');
  CHECK(store->layers().size() == layers);
  CHECK(at(store->view_session("pc")) == 'c');
}

TEST_CASE_FIXTURE(StoreFixture, "a view of what is written directly has no moment") {
  add_station("pc", Destination::direct);
  const auto connection = connect("img@pc");
  put(*connection, 'a');
  const DiskView session = store->view_session("pc");
  const DiskView version = store->view_version("img", 1);
  CHECK(session.moment == 0);
  CHECK(version.moment == 0);
  put(*connection, 'b');
  CHECK(at(session) == 'b');
  CHECK(at(version) == 'b');
}

TEST_CASE_FIXTURE(StoreFixture, "a version is viewed without what sessions have written") {
  const auto connection = connect("img@pc");
  put(*connection, 'a');
  const DiskView view = store->view_version("img", 1);
  CHECK(view.moment != 0);
  CHECK(at(view) == 0);
  CHECK(error_of([&] { store->view_version("img", 2); }).code() == ENOENT);
  CHECK(error_of([&] { store->view_session("nobody"); }).code() == ENOENT);
}

TEST_CASE_FIXTURE(StoreFixture, "a layer says who needs it") {
  add_station("pc", Destination::server_persistent);
  put(*connect("img@pc"), 'a');
  const std::string uuid = store->layers().at(0).record.uuid;
  const Error live = error_of([&] { store->remove_layer(uuid); });
  CHECK(live.code() == EBUSY);
  CHECK(mentions(live, "station \"pc\""));
  store->end_session("pc", false);
  const Error at_rest = error_of([&] { store->remove_layer(uuid); });
  CHECK(at_rest.code() == EBUSY);
  CHECK(mentions(at_rest, "--discard"));
  CHECK(error_of([&] { store->remove_layer("none"); }).code() == ENOENT);
}

TEST_CASE_FIXTURE(StoreFixture, "a station is renamed with what it has left") {
  add_station("old", Destination::server_persistent);
  add_station("other", std::nullopt);
  {
    const auto connection = connect("img@old");
    put(*connection, 'a');
    CHECK(error_of([&] { store->rename_station("old", "new"); }).code() == EBUSY);
  }
  store->end_session("old", false);
  CHECK(error_of([&] { store->rename_station("old", "other"); }).code() == EEXIST);
  CHECK(error_of([&] { store->rename_station("old", "a/b"); }).code() == EINVAL);
  CHECK(error_of([&] { store->rename_station("none", "new"); }).code() == ENOENT);
  CHECK(store->rename_station("old", "new").name == "new");
  CHECK_FALSE(store->catalogue().find_station("old"));
  CHECK(get(*connect("img@new")) == 'a');
}

TEST_CASE_FIXTURE(StoreFixture, "events tell of what happened, in order") {
  add_station("pc", Destination::server_volatile);
  CHECK(happened(*store, Topic::stations) == std::vector<std::string>{"added"});
  {
    const auto connection = connect("img@pc");
    put(*connection, 'a');
    store->redirect("pc", Destination::server_persistent, {}, {});
  }
  store->end_session("pc", true);
  const std::vector<std::string> expected{"began",      "connected",    "started",
                                          "redirected", "disconnected", "removed"};
  std::vector<std::string> events = happened(*store, Topic::sessions);
  std::erase(events, "changed");
  CHECK(events == expected);
  store->catalogue().set_parameter("session-grace", "5");
  CHECK(happened(*store, Topic::parameters) == std::vector<std::string>{"changed"});
}

TEST_CASE_FIXTURE(StoreFixture, "who hears of the end of a session finds it over") {
  add_station("kept", Destination::server_persistent);
  for (const char* station : {"kept", "dropped"}) {
    for (int i = 0; i < 30; ++i) {
      put(*connect(std::string("img@") + station), 'a');
      const std::string id = store->session(station).record.id;
      const std::uint64_t before = store->catalogue().events().numbers().newest;
      std::string state;
      std::thread follower([&] {
        for (std::uint64_t seen = before; state.empty();) {
          store->catalogue().events().wait(seen, std::chrono::seconds(10));
          for (const Event& event : store->catalogue().events().since(seen)) {
            seen = event.number;
            if (event.name != id || (event.event != "ended" && event.event != "removed")) continue;
            state = "gone";
            for (const SessionName& name : store->session_names())
              if (name.id == id) state = name.state;
          }
        }
      });
      store->end_session(station, false);
      follower.join();
      REQUIRE(state == (std::string(station) == "kept" ? "at-rest" : "gone"));
    }
  }
}

TEST_CASE("who waits for an event is told of it, and of the end") {
  EventLog log;
  std::thread teller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    log.add(Topic::images, "added", "img");
  });
  log.wait(0, std::chrono::minutes(1));
  CHECK(log.since(0).size() == 1);
  teller.join();
  std::thread stopper([&] { log.stop(); });
  log.wait(1, std::chrono::minutes(1));
  stopper.join();
  for (unsigned i = 0; i < 2 * EventLog::most_kept; ++i) log.add(Topic::layers, "added", "x");
  CHECK(log.since(0).size() == EventLog::most_kept);
  CHECK(log.since(log.numbers().newest).empty());
  CHECK(log.numbers().of_topic[static_cast<std::size_t>(Topic::images)] == 1);
}

TEST_CASE_FIXTURE(StoreFixture, "a version is made of what a session has written") {
  add_station("pc", Destination::server_persistent);
  CHECK(error_of([&] { store->freeze_version("img", "", {}); }).code() == EINVAL);
  const auto connection = connect("img@pc");
  put(*connection, 'a');
  put(*connection, 'b', 65536);
  connection->disk().zero(65536, 4096, true, false);
  CHECK(store->freeze_version("img", "", {}).number == 2);
  put(*connection, 'c');
  CHECK(store->freeze_version("img", "pc", {}).number == 3);
  CHECK(get(*connection) == 'c');
  CHECK(store->catalogue().image("img").published == 1);
  CHECK(at(store->view_version("img", 1)) == 0);
  CHECK(at(store->view_version("img", 2)) == 'a');
  CHECK(at(store->view_version("img", 2), 65536) == 0);
  CHECK(at(store->view_version("img", 3)) == 'c');
  // Sessions can begin on it, and versions be made of those.
  const auto other = connect("img:3@other");
  CHECK(get(*other) == 'c');
  put(*other, 'd', 131072);
  CHECK(error_of([&] { store->freeze_version("img", "", {}); }).code() == EINVAL);
  CHECK(store->freeze_version("img", "other", {}).number == 4);
  const DiskView fourth = store->view_version("img", 4);
  CHECK(at(fourth) == 'c');
  CHECK(at(fourth, 131072) == 'd');
  CHECK(store->catalogue().version("img", 4).layers.size() == 2);
  for (const auto& layer : store->layers()) CHECK(store->check_layer(layer.record.uuid).empty());
}

TEST_CASE_FIXTURE(StoreFixture, "what a version lies on is not written directly") {
  auto connection = connect("img@pc");
  put(*connection, 'a');
  store->freeze_version("img", "pc", {});
  connection.reset();
  store->end_session("pc", true);
  add_station("boss", Destination::direct);
  const Error refusal = error_of([&] { connect("img@boss"); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "version 2"));
  const auto volatile_one = connect("img@other");
  CHECK(error_of([&] { store->redirect("other", Destination::direct, {}, {}); }).code() == EBUSY);
}

TEST_CASE_FIXTURE(StoreFixture, "direct writes are no version") {
  add_station("boss", Destination::direct);
  const auto connection = connect("img@boss");
  put(*connection, 'a');
  CHECK(error_of([&] { store->freeze_version("img", "boss", {}); }).code() == EINVAL);
}
