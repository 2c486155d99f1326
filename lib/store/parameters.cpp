#include "store/parameters.hpp"

#include <array>
#include <charconv>

#include "base/error.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

void check_grace(std::string_view value) {
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error != std::errc() || end != value.data() + value.size() || seconds > 86400)
    throw Error(EINVAL, "a grace cannot be " + quote(value) +
                            ": use a whole number of seconds from 0 to 86400");
}

void check_boot_identity(std::string_view value) {
  if (value != "hostname" && value != "mac" && value != "serial")
    throw Error(EINVAL,
                "boot-identity cannot be " + quote(value) + ": use hostname, mac or serial");
}

void check_unknown_stations(std::string_view value) {
  if (value != "local" && value != "allow" && value != "refuse")
    throw Error(EINVAL,
                "unknown-stations cannot be " + quote(value) + ": use local, allow or refuse");
}

constexpr std::array specs{
    ParameterSpec{"attached-grace", "3600", "seconds",
                  "How long the session of a disk that plydisk attach has attached waits after the "
                  "last connection is gone (0 to 86400).",
                  check_grace},
    ParameterSpec{"boot-identity", "hostname", "",
                  "What a station that boots is known by: hostname (of DHCP; else mac), mac (of its "
                  "network card), serial (of SMBIOS).",
                  check_boot_identity},
    ParameterSpec{"default-writes", "server-volatile", "",
                  "Where a session's writes go if neither its station nor its image says.",
                  [](std::string_view value) { WritePlan plan(value); }},
    ParameterSpec{"session-grace", "30", "seconds",
                  "How long a session waits for its station after the last connection is gone "
                  "(0 to 86400).",
                  check_grace},
    ParameterSpec{"unknown-stations", "local", "",
                  "Whether stations that were not added are served: local (only to peers on this "
                  "machine), allow, refuse.",
                  check_unknown_stations},
};

}  // namespace

std::span<const ParameterSpec> parameter_specs() { return specs; }

const ParameterSpec& parameter_spec(std::string_view name) {
  std::vector<std::string> names;
  for (const ParameterSpec& spec : specs) {
    if (name == spec.name) return spec;
    names.emplace_back(spec.name);
  }
  throw Error(ENOENT, "there is no parameter " + quote(name) + suggestion(name, names));
}

}  // namespace plydisk
