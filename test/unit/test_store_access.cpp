// Who is let in to a store, and as whom.
#include "store_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::StoreFixture;

TEST_CASE_FIXTURE(StoreFixture, "a peer is told of the images that it may use") {
  const auto names = [&](const Peer& peer) {
    std::string text;
    for (const auto& image : store->exports(peer)) text += image.name + " ";
    return text;
  };
  Store::NewImage image;
  image.name = "second";
  image.size = 1 << 20;
  store->create_image(image, {});
  const Peer near{true, "127.0.0.1"}, far{false, "10.0.0.7"};
  CHECK(names(near) == "img second ");
  CHECK(names(far).empty());
  add_station("pc07", {});
  store->catalogue().change_station("pc07", [](StationRecord& station) {
    station.image = "second";
    station.allow = {"10.0.0.0/24"};
  });
  CHECK(names(far) == "second ");
  CHECK(names({false, "10.0.1.7"}).empty());
  store->catalogue().set_parameter("unknown-stations", "refuse");
  CHECK(names(near).empty());
  CHECK(names({true, "unix"}) == "second ");
  add_station("roaming", {});
  CHECK(names(far) == "img second ");
}

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

TEST_CASE_FIXTURE(StoreFixture, "a session that began without a token goes on with one") {
  put(*connect("img@pc"), 'a');
  CHECK(get(*connect("img@pc+first")) == 'a');
  CHECK(store->session_with_token(parse_export_name("img@pc+first"), {}).status.record.station ==
        "pc");
  CHECK(get(*connect("img@pc+second")) == 0);
}

TEST_CASE_FIXTURE(StoreFixture, "a new token of a station is a new boot") {
  put(*connect("img@pc+one"), '1');
  CHECK(get(*connect("img@pc+one")) == '1');
  CHECK(get(*connect("img@pc+two")) == 0);
}
