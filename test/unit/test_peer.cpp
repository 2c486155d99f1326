// Who counts as a local peer, by what nbdkit says of a connection.
#include <arpa/inet.h>
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "peer.hpp"
#include "test_support.hpp"

using namespace plydisk;

namespace {

// What the next nbdkit_peer_name() says: an address, or this error.
sockaddr_storage address{};
int error = 0;

Peer peer_after(int failure) {
  error = failure;
  return current_peer();
}

Peer peer_at(const char* text) {
  auto* const in6 = reinterpret_cast<sockaddr_in6*>(&address);
  address = {};
  in6->sin6_family = AF_INET6;
  REQUIRE(inet_pton(AF_INET6, text, &in6->sin6_addr) == 1);
  return peer_after(0);
}

}  // namespace

int nbdkit_peer_name(sockaddr* to, socklen_t* length) {
  if (error != 0) {
    errno = error;
    return -1;
  }
  std::memcpy(to, &address, *length);
  return 0;
}

TEST_CASE("a peer on a pipe or on a Unix socket is local") {
  CHECK(peer_after(ENOTSOCK).local);
  CHECK(peer_after(ENOTSOCK).address == "unix");
  address = {};
  address.ss_family = AF_UNIX;
  CHECK(peer_after(0).local);
  CHECK(peer_after(0).address == "unix");
}

TEST_CASE("a peer whose connection is gone already is nobody") {
  CHECK_FALSE(peer_after(ENOTCONN).local);
  CHECK(peer_after(ENOTCONN).address == "unknown");
}

TEST_CASE("loopback addresses are local, others are not") {
  CHECK(peer_at("::1").local);
  CHECK(peer_at("::ffff:127.0.0.1").local);
  CHECK(peer_at("::ffff:192.0.2.7").address == "192.0.2.7");
  CHECK_FALSE(peer_at("::ffff:192.0.2.7").local);
  CHECK_FALSE(peer_at("2001:db8::1").local);
}
