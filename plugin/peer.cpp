#include "peer.hpp"

#define NBDKIT_API_VERSION 2
#include <arpa/inet.h>
#include <nbdkit-plugin.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "store/names.hpp"

namespace plydisk {

Peer current_peer() {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  Peer peer{true, "unix"};
  // Not every failure sets it.
  errno = 0;
  if (nbdkit_peer_name(reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    // Pipes, as `nbdkit -s` may be given, are as local as a Unix socket. Of a TCP peer that has
    // reset the connection already, nothing is known (ENOTCONN).
    if (errno != ENOTSOCK) peer = {false, "unknown"};
    return peer;
  }
  const void* address = nullptr;
  in_addr v4{};
  sockaddr_in6 v6{};
  int family = storage.ss_family;
  if (family == AF_INET) {
    v4 = reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr;
    address = &v4;
  } else if (family == AF_INET6) {
    v6 = *reinterpret_cast<const sockaddr_in6*>(&storage);
    address = &v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      std::memcpy(&v4, &v6.sin6_addr.s6_addr[12], sizeof v4);
      family = AF_INET;
      address = &v4;
    }
  } else {
    peer.local = family == AF_UNIX;
    peer.address = family == AF_UNIX ? "unix" : "unknown";
    return peer;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family, address, text.data(), text.size());
  peer.address = text.data();
  peer.local = cidr_contains(family == AF_INET ? "127.0.0.0/8" : "::1/128", peer.address);
  return peer;
}

}  // namespace plydisk
