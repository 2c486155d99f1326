// The configuration of dnsmasq as a boot server: DHCP, or just what DHCP does not say, and TFTP.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace plydisk {

// iPXE's programs as Debian has them, and what they are called below the root of TFTP.
inline constexpr const char* ipxe_folder = "/usr/lib/ipxe";
inline constexpr const char* ipxe_bios = "undionly.kpxe";
inline constexpr const char* ipxe_efi = "snponly.efi";
// Has drivers of its own, for firmware whose driver is bad.
inline constexpr const char* ipxe_efi_drivers = "ipxe.efi";
inline constexpr const char* first_script = "plydisk.ipxe";

// An IPv4 network, as "192.168.1.0/24". In the order of numbers, not of bytes.
struct Ipv4Network {
  std::uint32_t address = 0;  // its first one
  unsigned bits = 32;
  std::uint32_t mask() const { return bits == 0 ? 0 : ~std::uint32_t{0} << (32 - bits); }
  bool contains(std::uint32_t other) const { return (other & mask()) == address; }
};
std::optional<std::uint32_t> parse_ipv4(const std::string& text);
std::string ipv4_text(std::uint32_t address);
// Of "ADDRESS/BITS" with any of its addresses; throws Error(EINVAL).
Ipv4Network parse_ipv4_network(const std::string& text);

// Addresses that are given to stations.
struct DhcpRange {
  std::uint32_t from = 0, to = 0;
  std::optional<std::uint32_t> mask;  // none: that of the interface
};
// Of "FROM,TO[,NETMASK]"; throws Error(EINVAL).
DhcpRange parse_dhcp_range(const std::string& text);

struct DnsmasqOptions {
  std::filesystem::path tftp_root;   // absolute
  std::filesystem::path hosts;       // file of the stations that get a host name or address
  std::filesystem::path leases;      // file that dnsmasq keeps
  std::string interface;             // empty: all
  std::optional<DhcpRange> range;    // none: another server gives addresses
  std::optional<Ipv4Network> proxy;  // for stations of this network, if there is no range
};
std::string dnsmasq_conf(const DnsmasqOptions& options);

}  // namespace plydisk
