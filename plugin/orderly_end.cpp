#include "orderly_end.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/thread.hpp"
#include "sockets.hpp"

namespace plydisk {

namespace {

// Of the signals' handler, which can't have an object.
int wake = -1;
std::array<struct sigaction, NSIG> before;

void on_signal(int signal) {
  const int saved = errno;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake, &one, sizeof one));
  before[static_cast<std::size_t>(signal)].sa_handler(signal);
  errno = saved;
}

// What tells whose listener a socket belongs to: the port, or the path. Empty: neither.
std::string local_end(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  if (address.ss_family == AF_INET)
    return "port " + std::to_string(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6)
    return "port " + std::to_string(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  const auto& local = reinterpret_cast<const sockaddr_un&>(address);
  if (address.ss_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path)) return "";
  return std::string(local.sun_path, ::strnlen(local.sun_path, sizeof local.sun_path));
}

// The connections that were made to this process.
std::vector<int> accepted_connections(const std::filesystem::path& control) {
  std::vector<std::pair<int, std::string>> connections;
  std::vector<std::string> listeners;
  for_each_stream_socket([&](int fd) {
    const std::string end = local_end(fd);
    if (end.empty() || end == control) return;
    if (socket_option(fd, SO_ACCEPTCONN) == 1)
      listeners.push_back(end);
    else
      connections.emplace_back(fd, end);
  });
  std::vector<int> accepted;
  for (const auto& [fd, end] : connections)
    if (std::find(listeners.begin(), listeners.end(), end) != listeners.end())
      accepted.push_back(fd);
  return accepted;
}

}  // namespace

OrderlyEnd::OrderlyEnd(std::filesystem::path control)
    : control_(std::move(control)), stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_) throw_errno("cannot make an event descriptor");
  static UniqueFd signalled;
  signalled.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signalled) throw_errno("cannot make an event descriptor");
  wake = signalled.get();
  for (const int signal : signals) {
    struct sigaction& known = before[static_cast<std::size_t>(signal)];
    ::sigaction(signal, nullptr, &known);
    if (known.sa_handler == SIG_DFL || known.sa_handler == SIG_IGN) continue;  // not nbdkit's
    struct sigaction action = known;
    action.sa_handler = on_signal;
    ::sigaction(signal, &action, nullptr);
  }
  thread_ = start_without_signals([this] { run(); });
}

OrderlyEnd::~OrderlyEnd() {
  for (const int signal : signals)
    ::sigaction(signal, &before[static_cast<std::size_t>(signal)], nullptr);
  const std::uint64_t one = 1;
  // It cannot fail: the counter of an event descriptor is far from full.
  static_cast<void>(!::write(stop_.get(), &one, sizeof one));
  thread_.join();
}

void OrderlyEnd::run() const noexcept {
  // Again, for one that was just being accepted.
  constexpr int between_looks_ms = 100;
  bool is_ending = false;
  while (true) {
    std::array<pollfd, 2> polled{{{stop_.get(), POLLIN, 0}, {is_ending ? -1 : wake, POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), is_ending ? between_looks_ms : -1);
    if (polled[0].revents != 0) return;
    is_ending |= polled[1].revents != 0;
    if (!is_ending) continue;
    try {
      for (const int fd : accepted_connections(control_)) ::shutdown(fd, SHUT_RD);
    } catch (const std::exception&) {
      // Out of memory: the next look may do better.
    }
  }
}

}  // namespace plydisk
