#include "sockets.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>

namespace plydisk {

int socket_option(int fd, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

void for_each_stream_socket(const std::function<void(int)>& fn) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const int fd = std::atoi(entry.path().filename().c_str());
    if (socket_option(fd, SO_TYPE) == SOCK_STREAM) fn(fd);
  }
}

void probe_idle_clients() {
  // A machine that is up again answers at once. One that is silent has perhaps lost its network,
  // and a plain client does not get over the loss of its connection: it has minutes.
  constexpr int first_s = 5, between_s = 5, most = 60;
  for_each_stream_socket([](int fd) {
    if (socket_option(fd, SO_ACCEPTCONN) != 1) return;
    const auto set = [fd](int level, int option, int value) {
      return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
    };
    // What is accepted has them from its listener. Unix sockets have none of these.
    if (set(IPPROTO_TCP, TCP_KEEPIDLE, first_s) && set(IPPROTO_TCP, TCP_KEEPINTVL, between_s) &&
        set(IPPROTO_TCP, TCP_KEEPCNT, most))
      set(SOL_SOCKET, SO_KEEPALIVE, 1);
  });
}

}  // namespace plydisk
