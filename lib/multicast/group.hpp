// Sockets for a multicast group, or for broadcasts where multicast is not to be had; IPv4 and IPv6.
// Functions throw Error.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/file.hpp"

namespace plydisk {

struct MulticastGroup {
  std::string address;  // of the group, or to broadcast to, as numbers
  std::uint16_t port = 0;
  std::string interface;  // by name; empty: the system's choice
  unsigned ttl = 1;       // hops
  auto operator<=>(const MulticastGroup&) const = default;
};

class GroupAddress {
 public:
  // EINVAL: that is neither a group nor can it be a broadcast address; ENODEV: no such interface.
  explicit GroupAddress(const MulticastGroup& group);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t size() const { return is_ipv6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }
  bool is_ipv6() const { return address_.ss_family == AF_INET6; }
  bool is_multicast() const;
  unsigned interface() const { return interface_; }  // 0: the system's choice

 private:
  sockaddr_storage address_{};
  unsigned interface_ = 0;
};

// What it sends is heard on this machine, too.
UniqueFd open_sender(const MulticastGroup& group);
// Hears the group's packets on its interface. Several may be open for one group. `buffer`: bytes
// that the kernel keeps for it, or less, if it has none to spare.
UniqueFd open_receiver(const MulticastGroup& group, std::size_t buffer);

}  // namespace plydisk
