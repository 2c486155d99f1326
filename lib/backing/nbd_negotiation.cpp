#include "backing/nbd_negotiation.hpp"

#include <poll.h>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"

namespace plydisk {

void throw_nbd_error(const std::string& server) {
  const int code = nbd_get_errno();
  const char* const error = nbd_get_error();
  std::string reason = error == nullptr ? "libnbd does not say why" : error;
  // "nbd_aio_connect_uri: connect: …": the function is of no use to a reader.
  if (const auto colon = reason.find(": "); reason.starts_with("nbd_") && colon != reason.npos)
    reason.erase(0, colon + 2);
  // With TLS 1.3, what a server thinks of a certificate comes after the handshake.
  if (reason.find("gnutls_record_") != reason.npos)
    reason +=
        " The server has ended the TLS connection: it may not accept this key or certificate.";
  // Nor is the token, with which others could get in.
  const std::string shown = without_token(server), name = export_of(server);
  if (shown != server)
    for (std::size_t at = 0; (at = reason.find(name, at)) != reason.npos;)
      reason.replace(at, name.size(), export_of(shown));
  throw Error(code == 0 ? EIO : code, "cannot connect to " + shown + ": " + reason);
}

short nbd_poll_events(unsigned direction) noexcept {
  return static_cast<short>(((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                            ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0));
}

int nbd_notify(nbd_handle* handle, unsigned direction, short events) noexcept {
  if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (events & ~POLLOUT) != 0)
    return nbd_aio_notify_read(handle);
  if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 && (events & ~POLLIN) != 0)
    return nbd_aio_notify_write(handle);
  return 0;
}

void negotiate(nbd_handle* handle, const std::string& server, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + limit;
  while (nbd_aio_is_ready(handle) == 0) {
    if (nbd_aio_is_dead(handle) != 0 || nbd_aio_is_closed(handle) != 0) throw_nbd_error(server);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    const unsigned direction = nbd_aio_get_direction(handle);
    pollfd fd{nbd_aio_get_fd(handle), nbd_poll_events(direction), 0};
    const int found = left.count() <= 0 ? 0 : ::poll(&fd, 1, static_cast<int>(left.count()));
    if (found < 0 && errno != EINTR) throw_errno("cannot wait for " + server);
    if (found == 0)
      throw Error(ETIMEDOUT, "cannot connect to " + without_token(server) + ": no answer within " +
                                 std::to_string(limit.count()) + " ms");
    if (found > 0 && nbd_notify(handle, direction, fd.revents) != 0) throw_nbd_error(server);
  }
}

}  // namespace plydisk
