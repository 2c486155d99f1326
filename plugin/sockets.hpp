// The sockets of this process, of which nbdkit tells its plugins nothing.
#pragma once

#include <functional>

namespace plydisk {

// An option of SOL_SOCKET; -1 for what is no socket.
int socket_option(int fd, int option);
void for_each_stream_socket(const std::function<void(int fd)>& fn);
// Has the kernel ask clients whose connections are idle, so that those end whose machine was
// rebooted: it knows nothing of them. Of the connections that this process will take.
void probe_idle_clients();

}  // namespace plydisk
