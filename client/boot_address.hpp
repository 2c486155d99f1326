// The addresses of this machine, and by which of them stations reach it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "netboot/dnsmasq_conf.hpp"

namespace plydisk {

struct InterfaceAddress {
  std::string interface;
  std::uint32_t address = 0;  // IPv4
  Ipv4Network network;
};
// Of the interfaces that are up and lead to others.
std::vector<InterfaceAddress> interface_addresses();

struct BootAddressOptions {
  std::string server;     // as given, "ADDRESS[:PORT]"; empty: to be found
  std::string interface;  // that stations are at; empty: any
  std::optional<DhcpRange> range;
  std::optional<Ipv4Network> proxy;
};
struct BootAddress {
  std::string server;     // as in an NBD URI
  std::string host;       // the same without a port
  std::string interface;  // empty: not known
  std::optional<Ipv4Network> network;
  unsigned port = 10809;
};
// Throws Error with what to give if it can't be known, or if what was given is no address.
BootAddress find_boot_address(const BootAddressOptions& options);

}  // namespace plydisk
