#include <algorithm>

#include "store/parameters.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;

TEST_CASE("parameters: ordered, and each default is a value that it takes") {
  const auto specs = parameter_specs();
  CHECK(std::is_sorted(specs.begin(), specs.end(), [](const auto& a, const auto& b) {
    return std::string_view(a.name) < b.name;
  }));
  for (const ParameterSpec& spec : specs) {
    CHECK(error_of([&] { spec.check(spec.default_value); }).code() == 0);
    CHECK(&parameter_spec(spec.name) == &spec);
    CHECK_FALSE(std::string(spec.help).empty());
  }
}

TEST_CASE("parameters: values that are refused") {
  const auto refused = [](const char* name, std::string_view value) {
    return error_of([&] { parameter_spec(name).check(value); }).code() == EINVAL;
  };
  for (const char* value :
       {"", "-1", "86401", "1.5", "30s", " 30", "30 ", "0x10", "99999999999999"})
    CHECK_MESSAGE(refused("session-grace", value), value);
  CHECK_FALSE(refused("session-grace", "0"));
  CHECK_FALSE(refused("session-grace", "86400"));
  CHECK(refused("unknown-stations", "yes"));
  CHECK(refused("unknown-stations", ""));
  CHECK_FALSE(refused("unknown-stations", "refuse"));
  CHECK(refused("boot-identity", "MAC"));
  CHECK(refused("boot-identity", "mac "));
  CHECK_FALSE(refused("boot-identity", "serial"));
  CHECK(refused("default-writes", "nowhere"));
  CHECK_FALSE(refused("default-writes", "direct"));
}

TEST_CASE("parameters: of multicast") {
  const auto refused = [](const char* name, std::string_view value) {
    return error_of([&] { parameter_spec(name).check(value); }).code() == EINVAL;
  };
  const std::vector<std::pair<const char*, std::vector<const char*>>> good{
      {"multicast", {"no", "yes", "auto"}},
      {"multicast-group", {"239.1.2.3", "ff15::10:9", "10.0.0.255"}},
      {"multicast-interface", {"auto", "eth0", "br-lan.12"}},
      {"multicast-least", {"1", "10000"}},
      {"multicast-memory", {"1M", "64G", "1048576"}},
      {"multicast-packet-size", {"300", "9000"}},
      {"multicast-port", {"1", "65535"}},
      {"multicast-rate", {"64K", "1G"}},
      {"multicast-timeout", {"1", "3600"}},
      {"multicast-ttl", {"1", "255"}},
      {"multicast-window", {"0", "10000"}}};
  const std::vector<std::pair<const char*, std::vector<const char*>>> bad{
      {"multicast", {"", "on", "AUTO", "1"}},
      {"multicast-group", {"", "example.org", "fe80::1", "239.1.2", "239.1.2.3:80"}},
      {"multicast-interface", {"", "a/b", "eth 0", "a-name-that-is-too-long"}},
      {"multicast-least", {"", "0", "10001", "two"}},
      {"multicast-memory", {"", "1K", "65G", "-1"}},
      {"multicast-packet-size", {"299", "9001", "1K"}},
      {"multicast-port", {"0", "65536", "http"}},
      {"multicast-rate", {"0", "63K", "65G", "100Mbit"}},
      {"multicast-timeout", {"0", "3601", "1.5"}},
      {"multicast-ttl", {"0", "256"}},
      {"multicast-window", {"-1", "10001", "50ms"}}};
  const auto check_all = [&refused](const auto& table, bool is_bad) {
    for (const auto& row : table)
      for (const char* value : row.second)
        CHECK_MESSAGE(refused(row.first, value) == is_bad, row.first << " " << value);
  };
  check_all(good, false);
  check_all(bad, true);
  for (const ParameterSpec& spec : parameter_specs())
    CHECK(spec.of_image == std::string_view(spec.name).starts_with("multicast"));
}

TEST_CASE("parameters: an unknown one names the nearest") {
  const Error error = error_of([] { parameter_spec("session-grase"); });
  CHECK(error.code() == ENOENT);
  CHECK(test::mentions(error, "did you mean \"session-grace\"?"));
}

}  // namespace plydisk
