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

TEST_CASE("parameters: an unknown one names the nearest") {
  const Error error = error_of([] { parameter_spec("session-grase"); });
  CHECK(error.code() == ENOENT);
  CHECK(test::mentions(error, "did you mean \"session-grace\"?"));
}

}  // namespace plydisk
