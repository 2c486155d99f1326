// An NBD server of any make as the backing.
//
// The connection may be lost at any time: requests then wait until the server is back, and go on as
// if nothing had happened. What was written and not yet flushed is kept here, and written again to
// a server that comes back, since it may have lost it: a restarted process, or another machine.
// Requests that were not answered are sent again after that, by the threads that wait for them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "backing/backing.hpp"
#include "backing/nbd_uri.hpp"

namespace plydisk {

struct NbdOptions {
  // Used only if the server says that it may be done (multi-conn).
  unsigned connections = 4;
  // Of plydisk's own servers: a token that is put behind the export's name, IMAGE@STATION, with a
  // number that is higher for each new group of connections. Empty: the name stays as it is.
  std::string session;
  // Whether something was written in this session before: the server must not begin another one.
  bool resumes = false;
  // Whether another process may have written what no flush has covered.
  bool may_be_unflushed = true;
  // The disk's size in bytes, as it is known from before; for one that resumes, or begins away.
  std::uint64_t size = 0;
  // Whether to begin although the server can't be reached: requests wait for it as later on.
  bool begins_away = false;
  // For the first connection, and for each attempt to get it back.
  std::chrono::milliseconds connect_limit{5000};
  // How long a request waits for a lost server before it fails; none: for ever.
  std::optional<std::chrono::milliseconds> patience;
  // Asked now and then by each thread that waits for a lost server: whether there is no point in it
  // any more, since the process is to end or the thread's client is gone. Null: there always is.
  std::function<bool()> is_pointless;
  // Called when the connections were lost and new ones are there, before any request goes over
  // them; `has_unflushed`: what is kept here is written again then. False: all of that is to be
  // flushed, and this called again, before others' requests go over them. If it throws, they are
  // given up, and others tried; after ESTALE all requests are to fail. Null: there is nothing to
  // do.
  std::function<bool(bool has_unflushed)> on_reconnect;
  // Called once, from the thread that writes, before the first write that the server has answered
  // is acknowledged; not if it resumes. Null: nobody wants to know.
  std::function<void()> on_first_write;
  // Asked when the server is there and refuses a session in which something was written: whether
  // that is over for good, so that all requests are to fail, at once if it resumes. Null: it never
  // is.
  std::function<bool()> is_over;
};

// Throws Error: ETIMEDOUT, ECONNREFUSED and the like, if the server can't be reached now; EINVAL if
// the export is empty.
std::shared_ptr<Backing> open_nbd_backing(const std::string& uri, const NbdOptions& options = {});

}  // namespace plydisk
