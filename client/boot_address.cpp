#include "boot_address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

std::uint32_t number_of(const sockaddr* address) {
  return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
}

// ADDRESS, NAME or [ADDRESS], and the port, if there is one.
struct ServerName {
  std::string host;
  std::optional<unsigned> port;
};

ServerName parse_server(const std::string& text) {
  constexpr const char* harmless =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
  const auto refuse = [&] {
    throw Error(EINVAL, "--server: " + quote(text) +
                            " is no address: use ADDRESS or ADDRESS:PORT, such as 192.168.1.1, "
                            "server.example:10809 or [2001:db8::1]:10809");
  };
  ServerName name{text, std::nullopt};
  const auto colon = text.rfind(':');
  if (colon != text.npos && text.find(']', colon) == text.npos) {
    const std::string_view digits = std::string_view(text).substr(colon + 1);
    unsigned port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0 || port > 65535)
      refuse();
    name = {text.substr(0, colon), port};
  }
  const std::string& host = name.host;
  in6_addr address{};
  const bool is_ipv6 =
      host.size() > 2 && host.front() == '[' && host.back() == ']' &&
      ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) == 1;
  if (host.empty() || (!is_ipv6 && host.find_first_not_of(harmless) != host.npos)) refuse();
  return name;
}

std::string list_of(const std::vector<InterfaceAddress>& addresses) {
  std::string text;
  for (const InterfaceAddress& it : addresses)
    text += (text.empty() ? "" : ", ") + ipv4_text(it.address) + " (" + it.interface + ")";
  return text;
}

// Where such stations can be.
bool fits(const InterfaceAddress& it, const BootAddressOptions& options) {
  if (!options.interface.empty()) return it.interface == options.interface;
  if (options.range) return it.network.contains(options.range->from);
  return !options.proxy || options.proxy->contains(it.address);
}

}  // namespace

std::vector<InterfaceAddress> interface_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) throw_errno("cannot list the network's interfaces");
  std::vector<InterfaceAddress> addresses;
  for (const ifaddrs* it = list; it != nullptr; it = it->ifa_next) {
    if (it->ifa_addr == nullptr || it->ifa_netmask == nullptr ||
        it->ifa_addr->sa_family != AF_INET || (it->ifa_flags & IFF_UP) == 0 ||
        (it->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    InterfaceAddress found{it->ifa_name, number_of(it->ifa_addr), {}};
    found.network.bits = static_cast<unsigned>(std::popcount(number_of(it->ifa_netmask)));
    found.network.address = found.address & found.network.mask();
    addresses.push_back(found);
  }
  ::freeifaddrs(list);
  return addresses;
}

BootAddress find_boot_address(const BootAddressOptions& options) {
  std::optional<ServerName> given;
  if (!options.server.empty()) given = parse_server(options.server);
  std::vector<InterfaceAddress> all = interface_addresses(), fitting;
  std::ranges::copy_if(all, std::back_inserter(fitting),
                       [&](const InterfaceAddress& it) { return fits(it, options); });
  const auto own = given ? parse_ipv4(given->host) : std::nullopt;
  BootAddress result;
  if (given) {
    result.server = options.server;
    result.host = given->host;
    result.port = given->port.value_or(result.port);
    std::erase_if(fitting, [&](const auto& it) { return own && it.address != *own; });
  } else if (fitting.empty()) {
    throw Error(ENETUNREACH,
                std::string("this machine has no address ") +
                    (options.interface.empty() ? "" : "on " + options.interface + " ") +
                    "that such stations can reach" +
                    (all.empty() ? "" : "; it has " + list_of(all)) +
                    ": give the address of the NBD server with --server ADDRESS");
  } else if (fitting.size() > 1) {
    throw Error(EINVAL,
                "this machine has several addresses that stations may reach: give one with "
                "--server: " +
                    list_of(fitting));
  } else {
    result.server = result.host = ipv4_text(fitting.front().address);
  }
  result.interface = options.interface;
  if (fitting.size() == 1) {
    result.interface = fitting.front().interface;
    result.network = fitting.front().network;
  }
  if (options.proxy) result.network = options.proxy;
  if (!options.range && !result.network)
    throw Error(EINVAL, "--server: " + result.server +
                            " is not on this machine: say which network the stations are in, with "
                            "--dhcp-proxy or --dhcp-range");
  return result;
}

}  // namespace plydisk
