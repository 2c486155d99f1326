#include "backing/nbd_connection.hpp"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

constexpr std::uint32_t always_taken = 32 << 20;  // what every server takes

// Seconds. A silent connection is asked for a sign of life after so many, so that is_unconfirmed()
// knows; how many are missed is not the kernel's to judge.
constexpr int keepalive_idle = 2;
constexpr int keepalive_interval = 1;
constexpr int keepalive_count = 127;

// That this thread reads answers of at the moment.
thread_local const NbdConnection* receiving = nullptr;

constexpr auto idle_look_period = std::chrono::milliseconds(200);

std::int64_t send_write(nbd_handle* handle, const NbdConnection::Write& write,
                        const nbd_completion_callback& done) {
  if (write.data != nullptr)
    return nbd_aio_pwrite(handle, write.data, write.length, write.offset, done, 0);
  return nbd_aio_zero(handle, write.length, write.offset, done,
                      write.may_punch ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
}

bool is_same_address(const sockaddr_storage& one, const sockaddr& other) {
  if (one.ss_family != other.sa_family) return false;
  if (one.ss_family == AF_INET)
    return reinterpret_cast<const sockaddr_in&>(one).sin_addr.s_addr ==
           reinterpret_cast<const sockaddr_in&>(other).sin_addr.s_addr;
  return one.ss_family == AF_INET6 &&
         IN6_ARE_ADDR_EQUAL(&reinterpret_cast<const sockaddr_in6&>(one).sin6_addr,
                            &reinterpret_cast<const sockaddr_in6&>(other).sin6_addr);
}

}  // namespace

// One request, on the stack of the thread that waits for it.
class NbdConnection::Waiter {
 public:
  explicit Waiter(NbdConnection& connection) : connection_(connection) {}
  static int on_answer(void* self, int* error) {
    auto& waiter = *static_cast<Waiter*>(self);
    NbdConnection& connection = waiter.connection_;
    waiter.finish(*error);
    // Who sends may read an answer, too, for which another one waits at the socket.
    if (receiving != &connection) connection.wake();
    return 1;  // libnbd forgets the request
  }
  // Until it is answered, or chosen to read answers itself.
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_ || chosen_; });
  }
  bool is_done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  int result() const { return error_ == ENOTCONN || error_ == ESHUTDOWN ? lost : error_; }
  void finish(int error) {
    // The waiter may be gone as soon as the lock is.
    const std::lock_guard lock(mutex_);
    error_ = error;
    done_ = true;
    changed_.notify_one();
  }
  void choose() {
    const std::lock_guard lock(mutex_);
    chosen_ = true;
    changed_.notify_one();
  }
  // With the connection's lock.
  bool take_choice() {
    const std::lock_guard lock(mutex_);
    return std::exchange(chosen_, false);
  }

 private:
  NbdConnection& connection_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false, chosen_ = false;
  int error_ = 0;
};

NbdConnection::NbdConnection(const std::string& uri, std::chrono::milliseconds limit,
                             Replies replies)
    : handle_(nbd_create()), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!handle_) throw_nbd_error(uri);
  if (!wake_) throw_errno("cannot make an eventfd");
  connect(uri, limit, replies);
  ask_about();
  socket_ = UniqueFd(::fcntl(nbd_aio_get_fd(handle_.get()), F_DUPFD_CLOEXEC, 0));
  if (!socket_) throw_errno("cannot keep the socket");
  const int yes = 1;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  // These fail on a Unix socket, which needs none of it.
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_KEEPIDLE, &keepalive_idle, sizeof(int));
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_KEEPINTVL, &keepalive_interval, sizeof(int));
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_KEEPCNT, &keepalive_count, sizeof(int));
  watcher_ = std::thread([this] { watch(); });
}

NbdConnection::~NbdConnection() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  closed_.notify_one();
  watcher_.join();
  if (!lost_.load()) nbd_aio_disconnect(handle_.get(), 0);
}

void NbdConnection::connect(const std::string& uri, std::chrono::milliseconds limit,
                            Replies replies) {
  nbd_handle* const handle = handle_.get();
  // Files of keys and certificates are named in the URI, which comes from the administrator.
  nbd_set_uri_allow_local_file(handle, true);
  if (replies == Replies::structured)
    nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION);
  else
    nbd_set_request_structured_replies(handle, false);
  if (nbd_aio_connect_uri(handle, uri.c_str()) != 0) throw_nbd_error(uri);
  negotiate(handle, uri, limit);
}

void NbdConnection::ask_about() {
  nbd_handle* const handle = handle_.get();
  about_.size = static_cast<std::uint64_t>(std::max<std::int64_t>(0, nbd_get_size(handle)));
  about_.minimum_block = static_cast<std::uint32_t>(
      std::max<std::int64_t>(1, nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM)));
  const std::int64_t maximum = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  about_.longest_request =
      maximum <= 0 ? always_taken
                   : static_cast<std::uint32_t>(std::min<std::int64_t>(maximum, always_taken));
  about_.read_only = nbd_is_read_only(handle) == 1;
  about_.can_flush = nbd_can_flush(handle) == 1;
  about_.can_zero = nbd_can_zero(handle) == 1;
  about_.can_multi_conn = nbd_can_multi_conn(handle) == 1;
  about_.can_cache = nbd_can_cache(handle) == 1;
  about_.has_extents = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
}

bool NbdConnection::is_over() const noexcept {
  return nbd_aio_is_dead(handle_.get()) != 0 || nbd_aio_is_closed(handle_.get()) != 0;
}

// Reads what comes next, and sends on what a socket's buffer had no room for. -1: waits for it.
// False if the connection is lost; libnbd has failed all requests then. One thread at a time.
bool NbdConnection::receive(int milliseconds) {
  nbd_handle* const handle = handle_.get();
  const unsigned direction = nbd_aio_get_direction(handle);
  pollfd fds[] = {{socket_.get(), nbd_poll_events(direction), 0}, {wake_.get(), POLLIN, 0}};
  if (::poll(fds, 2, milliseconds) > 0) {
    if (fds[1].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
    }
    receiving = this;
    if (fds[0].revents != 0) nbd_notify(handle, nbd_aio_get_direction(handle), fds[0].revents);
    receiving = nullptr;
  }
  if (!is_over()) return true;
  lost_.store(true);
  return false;
}

// Lets another one read answers. Called by who did, without the lock.
void NbdConnection::pass_on() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    is_received_ = false;
    return;
  }
  waiting_.front()->choose();
  waiting_.pop_front();
}

void NbdConnection::receive_for(Waiter& waiter) {
  while (!waiter.is_done() && receive(-1)) {
  }
  pass_on();
  waiter.wait();
}

// The result of a request that has been started.
int NbdConnection::await(Waiter& waiter) {
  bool receives = false;
  {
    const std::lock_guard lock(mutex_);
    receives = !std::exchange(is_received_, true);
    if (!receives) waiting_.push_back(&waiter);
  }
  if (!receives) {
    waiter.wait();
    const std::lock_guard lock(mutex_);
    receives = waiter.take_choice();
    if (!receives) std::erase(waiting_, &waiter);
  }
  if (receives) receive_for(waiter);
  return waiter.result();
}

// For a connection on which nobody waits.
void NbdConnection::watch() {
  std::unique_lock lock(mutex_);
  while (!closed_.wait_for(lock, idle_look_period, [this] { return closing_; })) {
    if (std::exchange(is_received_, true)) continue;
    lock.unlock();
    const bool is_there = receive(0);
    pass_on();
    lock.lock();
    if (!is_there) return;
  }
}

void NbdConnection::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void NbdConnection::drop() noexcept {
  // Who reads finds the end of the stream, and libnbd then fails all requests.
  ::shutdown(socket_.get(), SHUT_RDWR);
}

// Sends a request that is answered to `waiter`, also if it can't be sent.
template <typename Start>
void NbdConnection::start(Waiter& waiter, Start&& start) {
  if (start(nbd_completion_callback{Waiter::on_answer, &waiter, nullptr}) < 0) {
    const int code = nbd_get_errno();
    waiter.finish(is_over() ? ENOTCONN : code == 0 ? EIO : code);
  } else if ((nbd_aio_get_direction(handle_.get()) & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
    // What is left to be sent is whose turn it is to read: that one may wait for answers alone.
    wake();
  }
}

template <typename Start>
int NbdConnection::run(Start&& request) {
  Waiter waiter(*this);
  start(waiter, request);
  return await(waiter);
}

int NbdConnection::read(void* buffer, std::size_t length, std::uint64_t offset) {
  return run([&](const nbd_completion_callback& done) {
    return nbd_aio_pread(handle_.get(), buffer, length, offset, done, 0);
  });
}

int NbdConnection::write(const Write& write) {
  return run(
      [&](const nbd_completion_callback& done) { return send_write(handle_.get(), write, done); });
}

int NbdConnection::flush() {
  return run(
      [&](const nbd_completion_callback& done) { return nbd_aio_flush(handle_.get(), done, 0); });
}

int NbdConnection::cache(std::uint64_t offset, std::uint64_t length) {
  return run([&](const nbd_completion_callback& done) {
    return nbd_aio_cache(handle_.get(), length, offset, done, 0);
  });
}

int NbdConnection::write_all(std::span<const Write> writes) {
  std::deque<Waiter> waiters;
  for (std::size_t i = 0; i < writes.size(); ++i)
    start(waiters.emplace_back(*this), [&](const nbd_completion_callback& done) {
      return send_write(handle_.get(), writes[i], done);
    });
  int error = 0;
  for (Waiter& waiter : waiters)
    if (const int result = await(waiter); error == 0) error = result;
  return error;
}

int NbdConnection::extents(std::uint64_t offset, std::uint64_t length,
                           std::vector<Extent>& extents) {
  const auto on_extents = [](void* list, const char*, std::uint64_t, std::uint32_t* entries,
                             std::size_t count, int*) {
    for (std::size_t i = 0; i + 1 < count; i += 2)
      static_cast<std::vector<Extent>*>(list)->push_back(
          {entries[i], (entries[i + 1] & LIBNBD_STATE_ZERO) != 0});
    return 0;
  };
  return run([&](const nbd_completion_callback& done) {
    const nbd_extent_callback callback{on_extents, &extents, nullptr};
    return nbd_aio_block_status(handle_.get(), length, offset, callback, done, 0);
  });
}

std::string NbdConnection::interface() const {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  ifaddrs* all = nullptr;
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      ::getifaddrs(&all) != 0)
    return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(all, ::freeifaddrs);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next)
    if (one->ifa_addr != nullptr && is_same_address(own, *one->ifa_addr)) return one->ifa_name;
  return {};
}

bool NbdConnection::is_unconfirmed() const noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
         (info.tcpi_retransmits > 0 || info.tcpi_probes > 0);
}

}  // namespace plydisk
