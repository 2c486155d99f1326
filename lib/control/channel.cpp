#include "control/channel.hpp"

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace plydisk {

ControlAddress::ControlAddress(const std::filesystem::path& store) : path_(store / "control") {
  address_.sun_family = AF_UNIX;
  std::string name = path_.string();
  if (name.size() >= sizeof address_.sun_path) {
    directory_.reset(::open(store.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory_) throw_errno("cannot open " + store.string());
    name = "/proc/self/fd/" + std::to_string(directory_.get()) + "/control";
  }
  std::memcpy(address_.sun_path, name.c_str(), name.size() + 1);
}

LineChannel::LineChannel(UniqueFd socket, std::size_t limit, int stop_fd)
    : socket_(std::move(socket)), limit_(limit), stop_fd_(stop_fd) {}

bool LineChannel::wait_for(short events, int timeout_ms) const {
  std::array<pollfd, 2> polled{{{socket_.get(), events, 0}, {stop_fd_, POLLIN, 0}}};
  constexpr int between_questions_ms = 100;
  int left_ms = timeout_ms;
  for (;;) {
    int wait_ms = left_ms;
    if (is_pointless_ && (left_ms < 0 || left_ms > between_questions_ms))
      wait_ms = between_questions_ms;
    const int ready = ::poll(polled.data(), polled.size(), wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready != 0 || wait_ms == left_ms) return ready > 0 && polled[1].revents == 0;
    if (is_pointless_()) return false;
    if (left_ms > 0) left_ms -= wait_ms;
  }
}

LineChannel::Got LineChannel::read_line(std::string& line) {
  for (;;) {
    const auto newline = buffer_.find('\n', searched_);
    if (newline != std::string::npos || (ended_ && !buffer_.empty())) {
      const std::size_t length = std::min(newline, buffer_.size());
      line.assign(buffer_, 0, length);
      buffer_.erase(0, length + 1);
      searched_ = 0;
      if (!std::exchange(skipping_, false)) return length > limit_ ? Got::oversized : Got::line;
      continue;
    }
    if (ended_) return Got::end;
    if (skipping_) buffer_.clear();
    searched_ = buffer_.size();
    if (buffer_.size() > limit_) {
      buffer_.clear();
      searched_ = 0;
      skipping_ = true;
      return Got::oversized;
    }
    if (!wait_for(POLLIN, -1)) return Got::end;
    std::array<char, 65536> block;
    const ssize_t length = ::recv(socket_.get(), block.data(), block.size(), MSG_DONTWAIT);
    if (length > 0) {
      buffer_.append(block.data(), static_cast<std::size_t>(length));
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
      ended_ = true;
    }
  }
}

bool LineChannel::write_line(std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  return write_data(bytes.data(), bytes.size());
}

bool LineChannel::read_data(void* buffer, std::size_t length) {
  auto* to = static_cast<char*>(buffer);
  const std::size_t here = std::min(length, buffer_.size());
  std::memcpy(to, buffer_.data(), here);
  buffer_.erase(0, here);
  searched_ = 0;
  for (std::size_t got = here; got < length;) {
    if (ended_ || !wait_for(POLLIN, -1)) return false;
    const ssize_t more = ::recv(socket_.get(), to + got, length - got, MSG_DONTWAIT);
    if (more > 0)
      got += static_cast<std::size_t>(more);
    else if (more == 0 || (errno != EAGAIN && errno != EINTR))
      ended_ = true;
  }
  return true;
}

int LineChannel::peer_process() const {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : 0;
}

bool LineChannel::is_stale() const {
  char byte = 0;
  return ended_ || !buffer_.empty() ||
         ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
         (errno != EAGAIN && errno != EINTR);
}

bool LineChannel::write_data(const void* data, std::size_t size) {
  constexpr int patience_ms = 30'000;
  for (std::size_t sent = 0; sent < size;) {
    const ssize_t length = ::send(socket_.get(), static_cast<const char*>(data) + sent, size - sent,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length >= 0) {
      sent += static_cast<std::size_t>(length);
    } else if (errno == EAGAIN) {
      if (!wait_for(POLLOUT, patience_ms)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace plydisk
