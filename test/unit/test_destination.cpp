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

TEST_CASE("write plans: a list, both ways") {
  for (const char* text : {"direct", "client-ram:2G,client-volatile", "client-ram:1536,direct",
                           "client-volatile:20G,client-ram:3K,server-volatile:1T"})
    CHECK(to_string(WritePlan(text)) == text);
  const WritePlan plan("client-ram:2048M,client-volatile,server-volatile");
  CHECK(to_string(plan) == "client-ram:2G,client-volatile,server-volatile");
  CHECK(plan.first() == Destination::client_ram);
  CHECK(plan.find(Destination::client_ram)->limit == std::uint64_t{2} << 30);
  CHECK_FALSE(plan.find(Destination::client_volatile)->limit);
  CHECK(plan.find(Destination::direct) == nullptr);
  CHECK(plan.after(Destination::client_ram)->destination == Destination::client_volatile);
  CHECK(plan.after(Destination::server_volatile) == nullptr);
  CHECK(plan.after(Destination::direct) == nullptr);
  CHECK(WritePlan(Destination::direct) == WritePlan("direct"));
}

TEST_CASE("write plans: what is wrong") {
  for (const char* bad : {"", ",", "direct,", ",direct", "client-ram:", "client-ram:0",
                          "client-ram:2X", "client-ram:2GB", "client-ram:-1", "client-ram:1.5G",
                          "client-ram:2000000T", "client-ram:99999999999999999999", "direct:1G",
                          "client-ram:1G,client-ram", "client-ram 2G", "nowhere:1G"})
    CHECK_MESSAGE(test::error_of([&] { WritePlan plan{std::string_view(bad)}; }).code() == EINVAL,
                  bad);
}

TEST_CASE("a plan has a persistent twin, and a volatile one") {
  const auto twin = [](const char* plan, bool persistent) {
    return to_string(with_persistence(WritePlan(plan), persistent));
  };
  CHECK(twin("server-volatile", true) == "server-persistent");
  CHECK(twin("server-persistent:4G", false) == "server-volatile:4G");
  CHECK(twin("client-ram:2G,client-volatile,server-volatile", true) ==
        "client-persistent:2G,server-persistent");
  CHECK(twin("client-ram", false) == "client-ram");
  CHECK(twin("direct", true) == "direct");
  CHECK(test::error_of([&] { twin("direct", false); }).code() == EINVAL);
}

}  // namespace plydisk
