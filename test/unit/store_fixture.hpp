// A store in a temporary folder, with an image of 8 MiB, and stations that come and go.
#pragma once

#include <memory>
#include <vector>

#include "stack/disk.hpp"
#include "store/store.hpp"
#include "test_support.hpp"

namespace plydisk::test {

struct StoreFixture {
  TemporaryDirectory directory;
  std::unique_ptr<Store> store;

  StoreFixture() {
    Store::init(path());
    open("boot-1");
    Store::NewImage image;
    image.name = "img";
    image.size = 8 << 20;
    store->create_image(image, {});
  }
  std::filesystem::path path() const { return directory.path() / "store"; }
  void open(const std::string& boot) {
    store.reset();
    StoreOptions options;
    options.boot_id = boot;
    options.serve = true;
    store = Store::open(path(), options);
  }
  void add_station(const std::string& name, std::optional<Destination> writes) {
    StationRecord station;
    station.name = name;
    station.writes = writes;
    store->catalogue().add_station(station);
  }
  std::unique_ptr<Store::Connection> connect(const std::string& name, const Peer& peer = {}) {
    return store->connect(parse_export_name(name), peer, false);
  }
};

inline void put(Store::Connection& connection, char value, std::uint64_t offset = 0) {
  const std::vector<char> bytes(4096, value);
  connection.disk().write(bytes.data(), bytes.size(), offset, false);
}

inline char get(Store::Connection& connection, std::uint64_t offset = 0) {
  char value = 0;
  connection.disk().read(&value, 1, offset);
  return value;
}

}  // namespace plydisk::test
