#include "store/parameters.hpp"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "multicast/sender.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

// A whole number of these, `unit`, within limits.
unsigned checked_number(std::string_view what, std::string_view value, std::string_view unit,
                        unsigned least, unsigned most) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < least || number > most)
    throw Error(EINVAL, std::string(what) + " cannot be " + quote(value) + ": use a whole number" +
                            (unit.empty() ? "" : " of " + std::string(unit)) + " from " +
                            std::to_string(least) + " to " + std::to_string(most));
  return number;
}

std::uint64_t checked_size(std::string_view what, std::string_view value, std::uint64_t least,
                           std::uint64_t most, const char* range) {
  const auto bytes = parse_byte_size(value);
  if (!bytes || *bytes < least || *bytes > most)
    throw Error(EINVAL, std::string(what) + " cannot be " + quote(value) + ": use " + range);
  return *bytes;
}

void check_grace(std::string_view value) { checked_number("a grace", value, "seconds", 0, 86400); }

MulticastTerms::Use multicast_use(std::string_view value) {
  if (value == "no") return MulticastTerms::Use::no;
  if (value == "yes") return MulticastTerms::Use::yes;
  if (value == "auto") return MulticastTerms::Use::automatic;
  throw Error(EINVAL, "multicast cannot be " + quote(value) + ": use no, yes or auto");
}

std::uint16_t multicast_port(std::string_view value) {
  return static_cast<std::uint16_t>(checked_number("multicast-port", value, "", 1, 65535));
}

constexpr std::string_view any_interface = "auto";

void check_interface(std::string_view value) {
  const auto is_bad = [](char c) { return c <= ' ' || c == '/' || c == 0x7f; };
  if (value.empty() || value.size() >= IF_NAMESIZE || std::ranges::any_of(value, is_bad))
    throw Error(EINVAL, "multicast-interface cannot be " + quote(value) +
                            ": use the name of a network interface, such as eth0, or auto");
}

unsigned multicast_ttl(std::string_view value) {
  return checked_number("multicast-ttl", value, "hops", 1, 255);
}

std::uint64_t multicast_rate(std::string_view value) {
  return checked_size("multicast-rate", value, 64 << 10, std::uint64_t{64} << 30,
                      "bytes a second from 64K to 64G");
}

unsigned multicast_packet_size(std::string_view value) {
  return checked_number("multicast-packet-size", value, "bytes", MulticastSender::least_packet_size,
                        Packet::largest_size);
}

unsigned multicast_window(std::string_view value) {
  return checked_number("multicast-window", value, "milliseconds", 0, 10000);
}

unsigned multicast_least(std::string_view value) {
  return checked_number("multicast-least", value, "stations", 1, 10000);
}

unsigned multicast_timeout(std::string_view value) {
  return checked_number("multicast-timeout", value, "seconds", 1, 3600);
}

std::uint64_t multicast_memory(std::string_view value) {
  return checked_size("multicast-memory", value, 1 << 20, std::uint64_t{64} << 30,
                      "bytes from 1M to 64G");
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
    ParameterSpec{
        "boot-identity", "hostname", "",
        "What a station that boots is known by: hostname (of DHCP; else mac), mac (of its "
        "network card), serial (of SMBIOS).",
        check_boot_identity},
    ParameterSpec{"default-writes", "server-volatile", "",
                  "Where a session's writes go if neither its station nor its image says.",
                  [](std::string_view value) { WritePlan plan(value); }},
    ParameterSpec{"multicast", "no", "",
                  "Whether stations that boot get what they share by multicast: no, yes, auto (as "
                  "soon as multicast-least of them are subscribed).",
                  [](std::string_view value) { multicast_use(value); }, true},
    ParameterSpec{"multicast-group", "239.192.10.9", "",
                  "Where it is sent to: a multicast address, of IPv4 or IPv6, or an IPv4 network's "
                  "broadcast address.",
                  [](std::string_view value) {
                    GroupAddress({std::string(value), 1, "", 1});
                  },
                  true},
    ParameterSpec{"multicast-interface", "auto", "",
                  "The server's network interface that it is sent on; auto: as the system's routes "
                  "say.",
                  check_interface, true},
    ParameterSpec{"multicast-least", "2", "stations",
                  "With fewer subscribed, auto sends nothing by multicast (1 to 10000).",
                  [](std::string_view value) { multicast_least(value); }, true},
    ParameterSpec{"multicast-memory", "64M", "bytes",
                  "How much of what it has heard a station keeps at most (1M to 64G).",
                  [](std::string_view value) { multicast_memory(value); }, true},
    ParameterSpec{"multicast-packet-size", "1400", "bytes",
                  "The packets' size, without the headers of IP and UDP (300 to 9000).",
                  [](std::string_view value) { multicast_packet_size(value); }, true},
    ParameterSpec{"multicast-port", "10808", "", "The UDP port that it is sent to (1 to 65535).",
                  [](std::string_view value) { multicast_port(value); }, true},
    ParameterSpec{"multicast-rate", "50M", "bytes a second",
                  "No more than this is sent to the group (64K to 64G).",
                  [](std::string_view value) { multicast_rate(value); }, true},
    ParameterSpec{"multicast-timeout", "30", "seconds",
                  "How long a station keeps what it has heard and nobody has read (1 to 3600).",
                  [](std::string_view value) { multicast_timeout(value); }, true},
    ParameterSpec{"multicast-ttl", "1", "hops",
                  "How many networks its packets get through (1 to 255).",
                  [](std::string_view value) { multicast_ttl(value); }, true},
    ParameterSpec{"multicast-window", "50", "milliseconds",
                  "What was sent is not sent again for who asks for it within this time (0 to "
                  "10000).",
                  [](std::string_view value) { multicast_window(value); }, true},
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

MulticastTerms multicast_terms(const std::function<std::string(const char* name)>& value) {
  MulticastTerms terms;
  terms.use = multicast_use(value("multicast"));
  terms.group.address = value("multicast-group");
  terms.group.port = multicast_port(value("multicast-port"));
  const std::string interface = value("multicast-interface");
  if (interface != any_interface) terms.group.interface = interface;
  terms.group.ttl = multicast_ttl(value("multicast-ttl"));
  terms.rate = multicast_rate(value("multicast-rate"));
  terms.packet_size = multicast_packet_size(value("multicast-packet-size"));
  terms.window = std::chrono::milliseconds(multicast_window(value("multicast-window")));
  terms.least = multicast_least(value("multicast-least"));
  terms.timeout = std::chrono::seconds(multicast_timeout(value("multicast-timeout")));
  terms.memory = multicast_memory(value("multicast-memory"));
  return terms;
}

}  // namespace plydisk
