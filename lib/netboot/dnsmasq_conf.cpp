#include "netboot/dnsmasq_conf.hpp"

#include <arpa/inet.h>

#include <array>
#include <bit>
#include <charconv>
#include <sstream>
#include <vector>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

// Numbers of the DHCP option "client architecture" (IANA) for UEFI on x86-64, and what dnsmasq
// calls them in a boot menu.
constexpr std::array efi_architectures{7, 9};
constexpr std::array efi_services{"BC_EFI", "X86-64_EFI"};

void add_boot_programs(std::string& text) {
  for (const int architecture : efi_architectures)
    text += "dhcp-match=set:efi,option:client-arch," + std::to_string(architecture) + "\n";
  text += std::string("dhcp-boot=tag:!ipxe,tag:!efi,") + ipxe_bios +
          "\ndhcp-boot=tag:!ipxe,tag:efi," + ipxe_efi + "\ndhcp-boot=tag:ipxe," + first_script +
          "\n";
}

// Firmware asks a server that gives no addresses for a menu, and takes the only item.
void add_boot_menu(std::string& text) {
  const auto add = [&](const char* tag, const char* service, const char* program) {
    text +=
        std::string("pxe-service=tag:") + tag + "," + service + ",\"plydisk\"," + program + "\n";
  };
  add("!ipxe", "X86PC", ipxe_bios);
  for (const char* service : efi_services) add("!ipxe", service, ipxe_efi);
  add("ipxe", "X86PC", first_script);
  for (const char* service : efi_services) add("ipxe", service, first_script);
}

// On a network of somebody else's it is not for this program to say so.
void add_advertisements(std::string& text, const DnsmasqOptions& options) {
  const char* const off = options.range ? "" : "#";
  text +=
      "\n# iPXE waits 16 s where no router speaks IPv6. One that leads to no other network keeps\n"
      "# it from that, if the interface has an IPv6 address besides its link-local one.\n";
  text += std::string(off) + "enable-ra\n" + off +
          "dhcp-range=::,constructor:" + options.interface + ",ra-only\n" + off +
          "ra-param=" + options.interface + ",0,0\n";
}

}  // namespace

std::optional<std::uint32_t> parse_ipv4(const std::string& text) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

std::string ipv4_text(std::uint32_t address) {
  std::string text;
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    text += (text.empty() ? "" : ".") + std::to_string(address >> shift & 0xffU);
  return text;
}

Ipv4Network parse_ipv4_network(const std::string& text) {
  const auto slash = text.find('/');
  const auto address = parse_ipv4(text.substr(0, slash));
  Ipv4Network network;
  const std::string_view bits =
      slash == text.npos ? std::string_view() : std::string_view(text).substr(slash + 1);
  const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), network.bits);
  if (!address || bits.empty() || error != std::errc() || end != bits.data() + bits.size() ||
      network.bits > 32)
    throw Error(EINVAL, "the network " + quote(text) +
                            " is not valid: use an IPv4 network such as 192.168.1.0/24");
  network.address = *address & network.mask();
  return network;
}

DhcpRange parse_dhcp_range(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::optional<std::uint32_t>> parts;
  for (std::string word; std::getline(words, word, ',');) parts.push_back(parse_ipv4(word));
  const auto refuse = [&](const std::string& why) {
    throw Error(EINVAL, "the DHCP range " + quote(text) + " " + why +
                            ": use FROM,TO or FROM,TO,NETMASK, such as "
                            "192.168.1.100,192.168.1.200,255.255.255.0");
  };
  if (parts.size() < 2 || parts.size() > 3 || !parts[0] || !parts[1] ||
      (parts.size() == 3 && !parts[2]) || text.ends_with(','))
    refuse("is not valid");
  DhcpRange range{*parts[0], *parts[1], parts.size() == 3 ? parts[2] : std::nullopt};
  if (range.from > range.to) refuse("ends before it begins");
  if (range.mask && (~*range.mask & (~*range.mask + 1)) != 0) refuse("has a netmask that is none");
  if (range.mask && ((range.from ^ range.to) & *range.mask) != 0)
    refuse("is of two networks by its netmask");
  return range;
}

std::string dnsmasq_conf(const DnsmasqOptions& options) {
  std::string text =
      "# Made by plydisk netboot, which makes it again. To use it:\n"
      "#   dnsmasq --conf-file=THIS-FILE\n"
      "# or a line conf-file=THIS-FILE in the configuration of a dnsmasq that serves no DNS.\n"
      "port=0\n";
  if (!options.interface.empty()) text += "interface=" + options.interface + "\nbind-interfaces\n";
  text += "enable-tftp\ntftp-root=\"" + options.tftp_root.string() + "\"\ndhcp-leasefile=\"" +
          options.leases.string() +
          "\"\n\n# iPXE says that it is; all others get it first.\ndhcp-match=set:ipxe,175\n";
  if (options.range) {
    const DhcpRange& range = *options.range;
    text += "dhcp-range=" + ipv4_text(range.from) + "," + ipv4_text(range.to) +
            (range.mask ? "," + ipv4_text(*range.mask) : "") + ",12h\n" +
            "# Stations, a line each: MAC,NAME or MAC,NAME,ADDRESS\n"
            "dhcp-hostsfile=" +
            "\"" + options.hosts.string() + "\"\n";
    add_boot_programs(text);
  } else if (options.proxy) {
    text += "# Another server gives addresses; this one says what to boot.\ndhcp-range=" +
            ipv4_text(options.proxy->address) + ",proxy," + ipv4_text(options.proxy->mask()) + "\n";
    add_boot_menu(text);
  }
  if (!options.interface.empty()) add_advertisements(text, options);
  return text;
}

}  // namespace plydisk
