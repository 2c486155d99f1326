// At a station: sends what its own layers hold to its server, for a version, while the disk runs
// on.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "backing/nbd_connection.hpp"
#include "store/own_layers.hpp"

namespace plydisk {

class ServerLink;

// Thread safety: start() and stop() from any thread.
class VersionSender {
 public:
  // `log` gets why something was not sent.
  VersionSender(ServerLink& link, std::function<void(const std::string&)> log)
      : link_(link), log_(std::move(log)) {}
  ~VersionSender() { stop(); }
  VersionSender(const VersionSender&) = delete;
  VersionSender& operator=(const VersionSender&) = delete;

  // In a thread of its own. One that still sends for another version is stopped: the server waits
  // for one at a time. Throws Error(ESHUTDOWN) after stop().
  void start(std::uint64_t number, OwnLayers own);
  void stop() noexcept;

 private:
  void stop_thread() noexcept;
  void run(std::uint64_t number, const OwnLayers& own);
  void send(NbdConnection& connection, const OwnLayers& own);

  ServerLink& link_;
  const std::function<void(const std::string&)> log_;
  std::mutex mutex_;  // held by who starts or stops
  std::thread thread_;
  bool is_over_ = false;  // protected by it
  std::atomic<bool> stopping_{false};
  std::mutex connection_mutex_;  // protects the next
  std::weak_ptr<NbdConnection> connection_;
};

}  // namespace plydisk
