// A store with stations "pc" and "other", whose writes are not kept, and short ways to versions.
#pragma once

#include <string>

#include "store_fixture.hpp"

namespace plydisk::test {

inline char first_byte(const DiskView& view, std::uint64_t offset = 0) {
  char value = 0;
  view.stack->read(&value, 1, offset);
  return value;
}

struct VersionFixture : StoreFixture {
  VersionFixture() {
    for (const char* station : {"pc", "other"}) add_station(station, Destination::server_volatile);
  }
  // One session of a station that writes there, from its first connection to its end.
  void write(const std::string& station, char value, std::uint64_t offset = 0) {
    put(*connect("img@" + station), value, offset);
    store->end_session(station, false);
  }
  // A frozen version, on another one; its number.
  unsigned add_version(unsigned base, char value, std::uint64_t offset = 0) {
    const unsigned number = store->open_version("img", "pc", base, "").number;
    write("pc", value, offset);
    store->close_version("img", number, {});
    return number;
  }
  void check_all() {
    for (const std::string& fault : store->check({}).faults) FAIL_CHECK(fault);
    for (const VersionRecord& version : store->catalogue().versions("img"))
      if (version.state != "open")
        CHECK(store->verify_version("img", version.number, {}).damaged.empty());
  }
};

}  // namespace plydisk::test
