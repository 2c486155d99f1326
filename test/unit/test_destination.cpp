#include "store/destination.hpp"
#include "test_support.hpp"

namespace plydisk {

TEST_CASE("destinations: names, both ways") {
  for (const char* name : {"direct", "server-volatile", "server-persistent", "client-ram",
                           "client-volatile", "client-persistent"})
    CHECK(to_string(parse_destination(name)) == std::string(name));
  for (const char* bad : {"", "Direct", "server", "server-volatile ", "client-ram:2G"}) {
    const Error error = test::error_of([&] { parse_destination(bad); });
    CHECK(error.code() == EINVAL);
    CHECK(test::mentions(error, "server-persistent"));
  }
}

TEST_CASE("destinations: what survives, and where") {
  CHECK(is_persistent(Destination::direct));
  CHECK(is_persistent(Destination::server_persistent));
  CHECK(is_persistent(Destination::client_persistent));
  CHECK_FALSE(is_persistent(Destination::server_volatile));
  CHECK_FALSE(is_persistent(Destination::client_ram));
  CHECK_FALSE(is_persistent(Destination::client_volatile));
  CHECK(is_at_client(Destination::client_ram));
  CHECK(is_at_client(Destination::client_volatile));
  CHECK(is_at_client(Destination::client_persistent));
  CHECK_FALSE(is_at_client(Destination::direct));
  CHECK_FALSE(is_at_client(Destination::server_volatile));
}

}  // namespace plydisk
