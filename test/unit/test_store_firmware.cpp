// A station's firmware and the system that it boots: one session, which the system takes over.
#include <doctest/doctest.h>

#include "store_fixture.hpp"

using namespace plydisk;
using namespace plydisk::test;

namespace {

struct FirmwareFixture : StoreFixture {
  FirmwareFixture() { add_station("pc", std::nullopt); }
  std::unique_ptr<Store::Connection> firmware() { return connect("img@pc", firmware_peer()); }
  std::unique_ptr<Store::Connection> system(const std::string& token) {
    return connect("img@pc" + token, {false, "10.0.0.7"});
  }
};

}  // namespace

TEST_CASE_FIXTURE(FirmwareFixture,
                  "a system goes on in the session of its firmware, and shuts that out") {
  std::string token;
  SUBCASE("attached with plydisk") { token = "+boot"; }
  SUBCASE("a plain client") {}
  const auto before = firmware();
  put(*before, 'f');
  const std::string id = store->session("pc").record.id;
  CHECK(store->session("pc").record.peer == "firmware");
  const auto after = system(token);
  CHECK(get(*after) == 'f');
  CHECK(store->session("pc").record.id == id);
  CHECK(store->session("pc").record.peer == "10.0.0.7");
  CHECK(before->gate()->is_shut());
  const char late = 'l';
  CHECK(error_of([&] { before->disk().write(&late, 1, 0, false, before->gate()); }).code() ==
        ESHUTDOWN);
  put(*after, 's');
  CHECK(get(*after) == 's');
}

TEST_CASE_FIXTURE(FirmwareFixture,
                  "no firmware is let in while the system runs, and none ends its session") {
  const auto running = system("+boot");
  put(*running, 's');
  const Error error = error_of([&] { firmware(); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, "connected from 10.0.0.7"));
  CHECK(get(*running) == 's');
}

TEST_CASE_FIXTURE(FirmwareFixture,
                  "firmware that comes when the system has gone has booted again") {
  std::string token;
  SUBCASE("attached with plydisk") { token = "+boot"; }
  SUBCASE("a plain client") {}
  SUBCASE("after a restart of the server") {
    token = "+boot";
    put(*system(token), 's');
    open("boot-1");
  }
  put(*system(token), 's');
  CHECK(get(*firmware()) == 0);
  if (!token.empty()) CHECK(error_of([&] { system(token + ".2.r"); }).code() == ESTALE);
}

TEST_CASE_FIXTURE(FirmwareFixture, "what is persistent is there at the next boot") {
  store->catalogue().change_station(
      "pc", [](StationRecord& station) { station.writes = Destination::server_persistent; });
  put(*firmware(), 'f');
  CHECK(get(*system("+one")) == 'f');
  put(*system("+one"), 's', 4096);
  const auto again = firmware();
  CHECK(get(*again) == 'f');
  CHECK(get(*again, 4096) == 's');
}

TEST_CASE_FIXTURE(FirmwareFixture,
                  "firmware that comes back goes on, also after a restart of the server") {
  put(*firmware(), 'f');
  CHECK(get(*firmware()) == 'f');
  open("boot-1");
  CHECK(get(*firmware()) == 'f');
  CHECK(get(*firmware()) == 'f');
  CHECK(get(*system("+boot")) == 'f');
}

TEST_CASE_FIXTURE(FirmwareFixture, "writes that go to the station's memory begin at the server") {
  const auto set = [&](const char* plan) {
    store->catalogue().change_station(
        "pc", [&](StationRecord& station) { station.writes = WritePlan(plan); });
  };
  set("client-persistent");
  const Error error = error_of([&] { firmware(); });
  CHECK(error.code() == EINVAL);
  CHECK(mentions(error, "not for its firmware"));
  set("client-ram:1M,client-volatile");
  CHECK(error_of([&] { connect("img@pc"); }).code() == EINVAL);
  put(*firmware(), 'f');
  CHECK(store->session("pc").record.writes == Destination::server_volatile);
  CHECK(get(*system("+boot")) == 'f');
}

TEST_CASE_FIXTURE(FirmwareFixture, "the station's networks and secret") {
  store->catalogue().change_station(
      "pc", [](StationRecord& station) { station.allow = {"192.0.2.0/24"}; });
  CHECK(get(*firmware()) == 0);
  store->session("pc");
  store->end_session("pc", false);
  store->catalogue().change_station("pc", [](StationRecord& station) { station.secret = "s"; });
  CHECK(error_of([&] { firmware(); }).code() == EACCES);
}
