#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

struct Address {
  std::array<unsigned char, 16> bytes{};  // in network order
  unsigned bits = 0;                      // 32 or 128; 0: no address
};

constexpr std::array<unsigned char, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Address parse_address(std::string_view text) {
  Address address;
  // The longest address is 45 characters; inet_pton wants a terminated string.
  std::array<char, 64> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) return address;
  std::copy(text.begin(), text.end(), terminated.begin());
  if (::inet_pton(AF_INET, terminated.data(), address.bytes.data()) == 1) {
    address.bits = 32;
  } else if (::inet_pton(AF_INET6, terminated.data(), address.bytes.data()) == 1) {
    address.bits = 128;
  }
  return address;
}

bool is_mapped(const Address& address) {
  return address.bits == 128 &&
         std::equal(mapped_prefix.begin(), mapped_prefix.end(), address.bytes.begin());
}

Address unmapped(const Address& address) {
  Address ipv4;
  ipv4.bits = 32;
  std::copy(address.bytes.begin() + 12, address.bytes.end(), ipv4.bytes.begin());
  return ipv4;
}

struct Network {
  Address address;
  unsigned prefix = 0;
};

Network parse_network(std::string_view text) {
  const auto slash = text.find('/');
  Network network{parse_address(text.substr(0, slash)), 0};
  network.prefix = network.address.bits;
  bool valid = network.address.bits != 0;
  if (valid && slash != std::string_view::npos) {
    const std::string_view bits = text.substr(slash + 1);
    const auto [end, error] =
        std::from_chars(bits.data(), bits.data() + bits.size(), network.prefix);
    valid = error == std::errc() && end == bits.data() + bits.size() &&
            network.prefix <= network.address.bits;
  }
  if (!valid)
    throw Error(EINVAL, "the network " + quote(text) +
                            " is not valid: use an address such as 192.168.1.7 or fd00::7, or a "
                            "network such as 192.168.1.0/24 or fd00::/64");
  if (is_mapped(network.address) && network.prefix >= 96) {
    network.address = unmapped(network.address);
    network.prefix -= 96;
  }
  return network;
}

}  // namespace

void require_valid_cidr(std::string_view text) { parse_network(text); }

bool cidr_contains(std::string_view cidr, std::string_view address) {
  const Network network = parse_network(cidr);
  // A link-local address comes with its interface: fe80::1%eth0.
  Address peer = parse_address(address.substr(0, address.find('%')));
  if (is_mapped(peer)) peer = unmapped(peer);
  if (peer.bits != network.address.bits) return false;
  const std::size_t whole = network.prefix / 8;
  if (std::memcmp(peer.bytes.data(), network.address.bytes.data(), whole) != 0) return false;
  const unsigned rest = network.prefix % 8;
  if (rest == 0) return true;
  const unsigned differing = peer.bytes[whole] ^ network.address.bytes[whole];
  return differing >> (8 - rest) == 0;
}

bool cidr_is_host(std::string_view cidr) {
  const Network network = parse_network(cidr);
  return network.prefix == network.address.bits;
}

}  // namespace plydisk
