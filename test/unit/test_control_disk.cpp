// The methods of a client that has a station's disk open.
#include <doctest/doctest.h>

#include "control/service.hpp"
#include "store_fixture.hpp"

using namespace plydisk;
using namespace plydisk::test;
using nlohmann::json;

TEST_CASE_FIXTURE(StoreFixture, "methods: the disk of a station") {
  add_station("pc", std::nullopt);
  ControlService service(*store, ControlService::Role::server);
  ClientDisk disk;
  const auto call = [&](const char* method, const json& params) {
    return service.call(method, params, {}, &disk);
  };
  const auto refused = [&](int code, const char* method, const json& params) {
    return error_of([&] { call(method, params); }).code() == code;
  };
  CHECK(refused(EINVAL, "disk.open", {{"station", "pc"}}));  // no image
  CHECK(refused(ENOENT, "disk.open", {{"station", "none"}}));
  store->catalogue().change_station("pc", [](StationRecord& station) { station.image = "img"; });
  CHECK(refused(EBADF, "disk.write", {{"offset", 0}, {"data", "00"}}));
  CHECK(refused(EBADF, "disk.flush", json::object()));

  CHECK(call("disk.open", {{"station", "pc"}}).at("size") == 8 << 20);
  CHECK(refused(EBADF, "disk.write", {{"offset", 0}, {"data", "00"}}));
  CHECK(refused(EINVAL, "disk.read", {{"offset", 8 << 20}, {"length", 1}}));
  CHECK(store->sessions().empty());

  call("disk.open", {{"station", "pc"}, {"write", true}});
  CHECK(refused(EBADF, "disk.extents", {{"offset", 0}, {"length", 1}}));
  call("disk.write", {{"offset", 513}, {"data", "00ff7f"}});
  call("disk.flush", json::object());
  CHECK(call("disk.read", {{"offset", 512}, {"length", 5}}) == json::binary({0, 0, 0xff, 0x7f, 0}));
  for (const char* data : {"0", "0g", "0F"})
    CHECK(refused(EINVAL, "disk.write", {{"offset", 0}, {"data", data}}));
  CHECK(refused(EINVAL, "disk.write", {{"offset", (8 << 20) - 1}, {"data", "0000"}}));
  CHECK(store->session("pc").connections == 1);
  ClientDisk look;
  service.call("disk.open", {{"station", "pc"}}, {}, &look);
  CHECK(service.call("disk.read", {{"offset", 514}, {"length", 1}}, {}, &look) ==
        json::binary({0xff}));

  const auto system = connect("img@pc+boot");
  CHECK(refused(ESTALE, "disk.read", {{"offset", 0}, {"length", 1}}));
  CHECK(refused(ESTALE, "disk.write", {{"offset", 0}, {"data", "00"}}));
  call("disk.flush", json::object());
  disk = {};
  CHECK(store->session("pc").connections == 1);

  ControlService command(*store, ControlService::Role::command);
  const json write{{"station", "pc"}, {"write", true}};
  CHECK(error_of([&] { command.call("disk.open", write, {}, &disk); }).code() == ENOTCONN);
  command.call("disk.open", {{"station", "pc"}}, {}, &disk);
}
