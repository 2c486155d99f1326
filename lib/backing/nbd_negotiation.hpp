// What all that use libnbd here have in common: a connection is made within a deadline, which
// libnbd itself does not know, and its errors become sentences.
#pragma once

#include <libnbd.h>

#include <chrono>
#include <memory>
#include <string>

namespace plydisk {

struct NbdCloser {
  void operator()(nbd_handle* handle) const noexcept { nbd_close(handle); }
};
using NbdHandle = std::unique_ptr<nbd_handle, NbdCloser>;

// Throws libnbd's last error of this thread: "cannot connect to SERVER: reason".
[[noreturn]] void throw_nbd_error(const std::string& server);

// Goes on from nbd_aio_connect… until requests can be sent. `server` is for messages. Throws Error:
// ETIMEDOUT after `limit`, or what stopped it.
void negotiate(nbd_handle* handle, const std::string& server, std::chrono::milliseconds limit);

// What poll() shall look for when libnbd wants `direction` (LIBNBD_AIO_DIRECTION_…).
short nbd_poll_events(unsigned direction) noexcept;

// Tells libnbd what poll() found; returns what libnbd says to it. In a connection that is used, an
// event may not be expected any more, since the thread of a request was quicker: no failure.
int nbd_notify(nbd_handle* handle, unsigned direction, short events) noexcept;

}  // namespace plydisk
