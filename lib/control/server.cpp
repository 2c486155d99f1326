#include "control/server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "base/thread.hpp"
#include "control/protocol.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

UniqueFd new_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) throw_errno("cannot make a control socket");
  return socket;
}

void remove_stale_socket(const ControlAddress& address) {
  struct stat found {};
  const std::string path = address.path().string();
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return;
    throw_errno("cannot look at " + path);
  }
  if (!S_ISSOCK(found.st_mode))
    throw Error(EEXIST, path + " is in the way of the control socket: move it elsewhere");
  const UniqueFd probe = new_socket();
  // EAGAIN: its queue is full.
  if (::connect(probe.get(), address.address(), address.length()) == 0 || errno == EAGAIN)
    throw Error(EBUSY, "another server listens on " + path + ": stop it first");
  if (errno != ECONNREFUSED) throw_errno("cannot tell whether a server listens on " + path);
  if (::unlink(path.c_str()) != 0) throw_errno("cannot remove " + path);
}

unsigned long inode_of(const std::filesystem::path& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

json refusal(int rpc, int code, const std::string& sentence) {
  try {
    throw RpcError(rpc, code, sentence);
  } catch (...) {
    return error_answer(nullptr, current_error_json());
  }
}

}  // namespace

ControlServer::ControlServer(ControlService& service)
    : service_(service), address_(service.store().directory()) {
  stop_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_event_) throw_errno("cannot make an event descriptor");
  listen();
  acceptor_ = start_without_signals([this] { accept_clients(); });
}

ControlServer::~ControlServer() { stop(); }

void ControlServer::listen() {
  remove_stale_socket(address_);
  listener_ = new_socket();
  // The mode of the socket is that of its file: so it is never open to others, not even at first.
  if (::fchmod(listener_.get(), 0600) != 0 ||
      ::bind(listener_.get(), address_.address(), address_.length()) != 0 ||
      ::listen(listener_.get(), most_clients) != 0)
    throw_errno("cannot listen on " + address_.path().string());
  socket_inode_ = inode_of(address_.path());
}

void ControlServer::stop() noexcept {
  if (!acceptor_.joinable()) return;
  stopping_ = true;
  service_.stop_waiting();
  const std::uint64_t one = 1;
  // It cannot fail: the counter of an event descriptor is far from full.
  static_cast<void>(!::write(stop_event_.get(), &one, sizeof one));
  acceptor_.join();
  if (inode_of(address_.path()) == socket_inode_) ::unlink(address_.path().c_str());
  listener_.reset();
}

void ControlServer::accept_clients() noexcept {
  while (!stopping()) {
    std::array<pollfd, 2> polled{{{listener_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), -1);
    if (polled[1].revents != 0) break;
    try {
      join_finished();
      if (polled[0].revents != 0) accept_one();
    } catch (const std::exception&) {
      // Out of descriptors, threads or memory: those who wait stay in the queue meanwhile.
      ::poll(&polled[1], 1, 100);
    }
  }
  for (Client& client : clients_) client.thread.join();
  clients_.clear();
}

void ControlServer::accept_one() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    throw_errno("cannot accept");
  }
  if (clients_.size() >= most_clients) {
    LineChannel(std::move(socket), longest_request, stop_event_.get())
        .write_line(to_line(
            refusal(rpc_code::failed, EBUSY,
                    "the server has as many control clients as it takes: try again in a moment")));
    return;
  }
  Client& client = clients_.emplace_back();
  client.socket = std::move(socket);
  try {
    client.thread = start_without_signals([this, &client] { serve(client); });
  } catch (...) {
    clients_.pop_back();
    throw;
  }
}

void ControlServer::join_finished() {
  for (auto client = clients_.begin(); client != clients_.end();) {
    if (client->done) {
      client->thread.join();
      client = clients_.erase(client);
    } else {
      ++client;
    }
  }
}

void ControlServer::serve(Client& client) noexcept {
  try {
    LineChannel channel(std::move(client.socket), longest_request, stop_event_.get());
    serve_lines(channel);
  } catch (const std::exception&) {
    // Out of memory: this client is dropped, the others are served.
  }
  client.done = true;
}

void ControlServer::serve_lines(LineChannel& channel) {
  using Clock = std::chrono::steady_clock;
  constexpr auto between_notifications = std::chrono::milliseconds(100);
  std::string line;
  ClientDisk disk;
  for (;;) {
    const LineChannel::Got got = channel.read_line(line);
    if (got == LineChannel::Got::end) return;
    if (got == LineChannel::Got::oversized) {
      if (!channel.write_line(to_line(
              refusal(rpc_code::invalid_request, EMSGSIZE, "the request is longer than 1 MiB"))))
        return;
      continue;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Clock::time_point told{};
    const auto answer = answer_request(service_, disk, line, [&](const json& notification) {
      if (stopping()) throw Error(ESHUTDOWN, "the server is stopping: try again when it is back");
      if (Clock::now() - told < between_notifications) return;
      if (!channel.write_line(to_line(notification)))
        throw Error(ECANCELED, "the client that asked for it is gone");
      told = Clock::now();
    });
    if (!answer) continue;
    if (!channel.write_line(to_line(answer->line)) ||
        !channel.write_data(answer->data.data(), answer->data.size()))
      return;
  }
}

}  // namespace plydisk
