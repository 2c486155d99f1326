#include "server.hpp"

#include <time.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace bench {
namespace {

[[noreturn]] void fail(const ServerSpec& spec, const std::string& what) {
  throw std::runtime_error(spec.name + ": " + what);
}

std::string numbered(std::string uri, unsigned number) {
  if (const std::size_t at = uri.find("{}"); at != std::string::npos) {
    uri.replace(at, 2, std::to_string(number));
  }
  return uri;
}

}  // namespace

Server::Server(const Options& options, const ServerSpec& spec) : options_(options), spec_(spec) {
  for (unsigned i = 0; i < options.connections; ++i) {
    Connection& connection = connections_.emplace_back();
    connection.handle.reset(nbd_create());
    if (!connection.handle) fail(spec_, nbd_get_error());
    nbd_handle* handle = connection.handle.get();
    // Clearing each buffer before each read would be our cost, and hide a difference of the
    // servers.
    nbd_set_pread_initialize(handle, false);
    if (nbd_connect_uri(handle, numbered(spec.uri, i).c_str()) == -1) {
      fail(spec_, nbd_get_error());
    }
  }
  polls_.resize(options.connections);
}

std::uint64_t Server::disk_bytes() const {
  const std::int64_t size = nbd_get_size(connections_.front().handle.get());
  if (size < 0) fail(spec_, nbd_get_error());
  return static_cast<std::uint64_t>(size);
}

void Server::prepare(const Permutation& permutation) {
  const std::uint64_t bytes = disk_bytes();
  unsigned number = 0;
  for (Connection& connection : connections_) {
    connection.requests = std::make_unique<RequestStream>(options_, bytes, number++, permutation);
    connection.slots.resize(options_.depth);
    connection.completed.reserve(options_.depth);
    for (Slot& slot : connection.slots) {
      slot.connection = &connection;
      slot.data.resize(options_.block);
      fill(slot.data, options_.seed);
    }
  }
}

double Server::cpu_seconds() const {
  clockid_t clock;
  timespec time{};
  if (spec_.pid == 0 || clock_getcpuclockid(spec_.pid, &clock) != 0 ||
      clock_gettime(clock, &time) != 0) {
    return 0;
  }
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void Server::read(std::vector<char>& data, std::uint64_t offset) {
  if (nbd_pread(connections_.front().handle.get(), data.data(), data.size(), offset, 0) == -1) {
    fail(spec_, nbd_get_error());
  }
}

int Server::on_completion(void* user, int* error) {
  Slot& slot = *static_cast<Slot*>(user);
  slot.error = *error;
  slot.connection->completed.push_back(&slot);
  return 1;  // the command is retired
}

void Server::issue(Slot& slot) {
  const Request request = slot.connection->requests->next();
  nbd_handle* handle = slot.connection->handle.get();
  const nbd_completion_callback done{
      .callback = on_completion, .user_data = &slot, .free = nullptr};
  std::int64_t cookie;
  if (request.write) {
    stamp(slot.data, request.offset);
    const std::uint32_t flags =
        options_.operation == Operation::write_fua ? LIBNBD_CMD_FLAG_FUA : 0;
    cookie =
        nbd_aio_pwrite(handle, slot.data.data(), slot.data.size(), request.offset, done, flags);
  } else {
    cookie = nbd_aio_pread(handle, slot.data.data(), slot.data.size(), request.offset, done, 0);
  }
  if (cookie == -1) fail(spec_, nbd_get_error());
}

void Server::flush(Slot& slot) {
  const nbd_completion_callback done{
      .callback = on_completion, .user_data = &slot, .free = nullptr};
  if (nbd_aio_flush(slot.connection->handle.get(), done, 0) == -1) fail(spec_, nbd_get_error());
}

void Server::wait() {
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    nbd_handle* handle = connections_[i].handle.get();
    const unsigned direction = nbd_aio_get_direction(handle);
    polls_[i].fd = nbd_aio_get_fd(handle);
    polls_[i].events = static_cast<short>((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                                          (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    polls_[i].revents = 0;
  }
  const int ready = poll(polls_.data(), polls_.size(), 30'000);
  if (ready < 0 && errno != EINTR) fail(spec_, std::strerror(errno));
  if (ready == 0) fail(spec_, "no answer for 30 seconds");
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    nbd_handle* handle = connections_[i].handle.get();
    int result = 0;
    // One of them, not both: the first may change what the handle waits for.
    if (polls_[i].revents & (POLLIN | POLLHUP | POLLERR)) {
      result = nbd_aio_notify_read(handle);
    } else if (polls_[i].revents & POLLOUT) {
      result = nbd_aio_notify_write(handle);
    }
    if (result == -1) fail(spec_, nbd_get_error());
  }
}

Slice Server::run_slice() {
  using Clock = std::chrono::steady_clock;
  const std::uint64_t limit = options_.slice_operations;
  Slice slice;
  const double cpu_before = cpu_seconds();
  const Clock::time_point start = Clock::now();
  const Clock::time_point end = start + std::chrono::milliseconds(options_.slice_ms);
  Clock::time_point now = start;
  std::uint64_t issued = 0;
  std::uint64_t in_flight = 0;
  const auto may_issue = [&] { return limit != 0 ? issued < limit : now < end; };
  const auto start_next = [&](Slot& slot) {
    if (!may_issue()) return;
    issue(slot);
    ++issued;
    ++in_flight;
  };

  // Slot by slot, not connection by connection: with few operations, all connections get some.
  for (unsigned i = 0; i < options_.depth; ++i) {
    for (Connection& connection : connections_) start_next(connection.slots[i]);
  }
  // Issuing may already have completed something: look before waiting.
  for (;; wait()) {
    now = Clock::now();
    for (Connection& connection : connections_) {
      // Issuing may complete others at once, at the end of this list.
      for (std::size_t i = 0; i < connection.completed.size(); ++i) {
        Slot& slot = *connection.completed[i];
        if (slot.error != 0) fail(spec_, std::string("I/O error: ") + std::strerror(slot.error));
        if (options_.operation == Operation::write_flush) {
          slot.flushing = !slot.flushing;
          if (slot.flushing) {
            flush(slot);
            continue;
          }
        }
        ++slice.operations;
        --in_flight;
        start_next(slot);
      }
      connection.completed.clear();
    }
    if (in_flight == 0) break;
  }
  slice.seconds = std::chrono::duration<double>(now - start).count();
  slice.cpu_seconds = cpu_seconds() - cpu_before;
  return slice;
}

}  // namespace bench
