#include "multicast/group.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <cstring>

#include "base/error.hpp"

namespace plydisk {

namespace {

template <typename Value>
void set_option(const UniqueFd& socket, int level, int option, const Value& value,
                const char* what) {
  if (::setsockopt(socket.get(), level, option, &value, sizeof value) != 0)
    throw_errno(std::string("cannot ") + what);
}

UniqueFd open_socket(const GroupAddress& address) {
  UniqueFd socket(::socket(address.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) throw_errno("cannot make a socket for multicast");
  return socket;
}

void join(const UniqueFd& socket, const GroupAddress& address) {
  group_req request{};
  request.gr_interface = address.interface();
  std::memcpy(&request.gr_group, address.get(), address.size());
  set_option(socket, address.is_ipv6() ? IPPROTO_IPV6 : IPPROTO_IP, MCAST_JOIN_GROUP, request,
             "join the multicast group");
}

}  // namespace

GroupAddress::GroupAddress(const MulticastGroup& group) {
  if (!group.interface.empty()) {
    interface_ = ::if_nametoindex(group.interface.c_str());
    if (interface_ == 0)
      throw Error(ENODEV, "there is no network interface \"" + group.interface + "\"");
  }
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(address_);
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address_);
  if (::inet_pton(AF_INET, group.address.c_str(), &ipv4.sin_addr) == 1) {
    address_.ss_family = AF_INET;
    ipv4.sin_port = htons(group.port);
  } else if (::inet_pton(AF_INET6, group.address.c_str(), &ipv6.sin6_addr) == 1 &&
             IN6_IS_ADDR_MULTICAST(&ipv6.sin6_addr)) {
    address_.ss_family = AF_INET6;
    ipv6.sin6_port = htons(group.port);
    ipv6.sin6_scope_id = interface_;
  } else {
    throw Error(EINVAL, "the group \"" + group.address +
                            "\" is not valid: use a multicast address, such as 239.192.10.9 or "
                            "ff15::10:9, or an IPv4 network's broadcast address");
  }
}

bool GroupAddress::is_multicast() const {
  return is_ipv6() ||
         IN_MULTICAST(ntohl(reinterpret_cast<const sockaddr_in&>(address_).sin_addr.s_addr));
}

UniqueFd open_sender(const MulticastGroup& group) {
  const GroupAddress address(group);
  UniqueFd socket = open_socket(address);
  const int ttl = static_cast<int>(group.ttl);
  if (!address.is_multicast()) {
    set_option(socket, SOL_SOCKET, SO_BROADCAST, 1, "broadcast");
    if (!group.interface.empty() &&
        ::setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, group.interface.c_str(),
                     static_cast<socklen_t>(group.interface.size())) != 0)
      throw_errno("cannot broadcast on " + group.interface);
  } else if (address.is_ipv6()) {
    set_option(socket, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl, "set the hops of multicast");
    if (address.interface() != 0)
      set_option(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, address.interface(),
                 "send multicast on this interface");
  } else {
    set_option(socket, IPPROTO_IP, IP_MULTICAST_TTL, ttl, "set the hops of multicast");
    ip_mreqn interface {};
    interface.imr_ifindex = static_cast<int>(address.interface());
    if (address.interface() != 0)
      set_option(socket, IPPROTO_IP, IP_MULTICAST_IF, interface,
                 "send multicast on this interface");
  }
  if (::connect(socket.get(), address.get(), address.size()) != 0)
    throw_errno("cannot send to " + group.address);
  return socket;
}

UniqueFd open_receiver(const MulticastGroup& group, std::size_t buffer) {
  const GroupAddress address(group);
  UniqueFd socket = open_socket(address);
  set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1, "share the port of the multicast group");
  const int bytes = static_cast<int>(buffer);
  // Beyond the system's limit is for root; else the limit is what there is.
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
    set_option(socket, SOL_SOCKET, SO_RCVBUF, bytes, "keep room for packets");
  // To the group's own address: what is sent to others at the same port is not heard.
  if (::bind(socket.get(), address.get(), address.size()) != 0)
    throw_errno("cannot listen for " + group.address);
  if (address.is_multicast()) join(socket, address);
  return socket;
}

}  // namespace plydisk
