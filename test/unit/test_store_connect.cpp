// Who is let in to a store, to which session, and for how long.
#include <chrono>
#include <thread>

#include "store_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::StoreFixture;

TEST_CASE_FIXTURE(StoreFixture, "unknown stations come in from this machine alone") {
  const Peer far{false, "192.0.2.7"};
  CHECK(error_of([&] { connect("img@pc", far); }).code() == EACCES);
  CHECK(error_of([&] { connect("img", far); }).code() == EACCES);
  connect("img@pc");
  add_station("known", {});
  connect("img@known", far);
  store->catalogue().set_parameter("unknown-stations", "refuse");
  CHECK(error_of([&] { connect("img@pc"); }).code() == EACCES);
  store->catalogue().set_parameter("unknown-stations", "allow");
  connect("img@pc", far);
}

TEST_CASE_FIXTURE(StoreFixture, "a station comes from its networks, and one address at a time") {
  StationRecord station;
  station.name = "pc";
  station.allow = {"192.0.2.0/24"};
  store->catalogue().add_station(station);
  const Peer right{false, "192.0.2.9"};
  CHECK(error_of([&] { connect("img@pc", {false, "198.51.100.1"}); }).code() == EACCES);
  const auto connection = connect("img@pc", right);
  CHECK(error_of([&] { connect("img@pc", {false, "192.0.2.10"}); }).code() == EBUSY);
}

TEST_CASE_FIXTURE(StoreFixture, "an address alone finds its station") {
  StationRecord station;
  station.name = "pc";
  station.allow = {"192.0.2.9"};
  store->catalogue().add_station(station);
  const auto connection = connect("img", {false, "192.0.2.9"});
  put(*connection, 'x');
  CHECK(store->session("pc").record.station == "pc");
}

TEST_CASE_FIXTURE(StoreFixture, "a new token of a station is a new boot") {
  put(*connect("img@pc+one"), '1');
  CHECK(get(*connect("img@pc+one")) == '1');
  CHECK(get(*connect("img@pc+two")) == 0);
}

TEST_CASE_FIXTURE(StoreFixture, "a session ends when its grace is over") {
  store->catalogue().set_parameter("session-grace", "0");
  put(*connect("img@pc"), 'v');
  for (unsigned i = 0; i < 100 && !store->sessions().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(store->sessions().empty());
  CHECK(store->layers().empty());
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
