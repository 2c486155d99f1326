// Serves a store's methods on the Unix socket STORE/control.
//
// One thread accepts; each client has a thread of its own, up to a limit, since a request may take
// long. The socket is for its owner alone (mode 0600): who can connect may do everything.
//
// Thread safety: made, stopped and destroyed by one thread. No exception and no signal reaches the
// threads of the host program through this one.
#pragma once

#include <atomic>
#include <filesystem>
#include <list>
#include <thread>

#include "base/file.hpp"
#include "control/channel.hpp"
#include "control/service.hpp"

namespace plydisk {

class ControlServer {
 public:
  static constexpr unsigned most_clients = 256;

  // Listens when it returns. A socket that nobody listens on is replaced; EBUSY if somebody does.
  // `service` must outlive the server.
  explicit ControlServer(ControlService& service);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Ends promptly: clients are dropped, and long work is cancelled at its next progress. Removes
  // the socket. May be called again.
  void stop() noexcept;

 private:
  struct Client {
    UniqueFd socket;  // until its thread takes it over
    std::thread thread;
    std::atomic<bool> done{false};
  };

  void listen();
  void accept_clients() noexcept;
  void accept_one();
  void join_finished();
  void serve(Client& client) noexcept;
  void serve_lines(LineChannel& channel);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  ControlService& service_;
  ControlAddress address_;
  UniqueFd listener_;
  UniqueFd stop_event_;  // readable once stopping
  std::atomic<bool> stopping_{false};
  unsigned long socket_inode_ = 0;  // so that another server's socket is left alone
  std::list<Client> clients_;       // the accepting thread's alone
  std::thread acceptor_;
};

}  // namespace plydisk
