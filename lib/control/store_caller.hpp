// Calls a store's methods wherever they can be carried out: by its server, through the control
// socket, or, while no server runs, in this process.
//
// Thread safety: all functions from any thread. Calls to a server that last long do not hold up
// others: each has a connection of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file.hpp"
#include "base/progress.hpp"
#include "control/client.hpp"
#include "control/service.hpp"
#include "store/store.hpp"

namespace plydisk {

// A whole disk to read: see disk.open in service.hpp.
//
// Thread safety: all functions from any thread.
class OpenDisk {
 public:
  virtual ~OpenDisk() = default;
  virtual std::uint64_t size() const = 0;  // bytes
  // Whether it stays as it was when it was opened.
  virtual bool is_frozen() const = 0;
  virtual void read(void* buffer, std::size_t length, std::uint64_t offset) = 0;
  struct Extent {
    std::uint64_t offset, length;
    bool is_zero;
    int file = -1;  // for open_file(); -1: it is in none
  };
  // Of the range from `offset` to the end of the disk, in order, at least one.
  virtual std::vector<Extent> extents(std::uint64_t offset) = 0;
  // One that has extents of the disk, each byte at its place on it, for reading: so that a copy
  // need not pass through the server. None if it can't be opened here. What lies behind its end is
  // to be read with read().
  virtual std::optional<File> open_file(int number) = 0;
};

// The disk of a station, as its firmware reads and writes it.
//
// Thread safety: used by one thread at a time.
class StationDisk {
 public:
  // As the next, at most.
  static constexpr std::size_t longest_request = 256 << 10;  // bytes

  explicit StationDisk(ControlClient client) : client_(std::move(client)) {}
  void read(void* buffer, std::size_t length, std::uint64_t offset);
  void write(const void* data, std::size_t length, std::uint64_t offset);
  void flush();
  // Whether another request can be made after an error.
  bool is_in_order() const noexcept { return client_.is_in_order(); }

 private:
  ControlClient client_;  // the connection is what keeps it open
};

class StoreCaller {
 public:
  struct Options {
    // Nobody but what serves the store may work on it: what to say while that is not there.
    std::optional<std::string> server_only;
    // Likewise, if the store is a station's.
    bool refuse_station = false;
    // How long the store stays open in this process after a call, for the next ones.
    std::chrono::milliseconds linger{0};
    // Whether nobody wants the answer any more of the call that this thread makes: asked now and
    // then while it is at work. May be empty.
    std::function<bool()> is_pointless;
    // How long to wait for a server that does not answer, or another process that has the store.
    std::chrono::milliseconds patience{3000};
  };
  StoreCaller(std::filesystem::path store, Options options);
  ~StoreCaller();
  StoreCaller(const StoreCaller&) = delete;
  StoreCaller& operator=(const StoreCaller&) = delete;

  // The result of the method. Throws Error: what the method throws; ECONNRESET if the server went
  // away meanwhile, EBUSY if another process has the store.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Progress& progress = {});
  // `what`: the parameters of disk.open. It must be gone before this object is.
  std::unique_ptr<OpenDisk> open_disk(const nlohmann::json& what);
  // As the station's firmware. ENOTCONN if no server runs.
  std::unique_ptr<StationDisk> open_station_disk(const std::string& station);

 private:
  class RemoteDisk;
  class LocalDisk;
  // The store, open in this process.
  struct Local {
    std::unique_ptr<Store> store;
    std::unique_ptr<ControlService> service;
  };
  using Clock = std::chrono::steady_clock;
  // Calls fn with a ControlClient or a Local&.
  template <typename Fn>
  auto reach(Fn&& fn);
  std::optional<ControlClient> take_client();
  void give_back(ControlClient client);
  std::shared_ptr<Local> take_local();
  void close_unused();

  const std::filesystem::path store_;
  const Options options_;
  std::mutex mutex_;                    // protects all below
  std::vector<ControlClient> clients_;  // idle ones
  std::shared_ptr<Local> local_;
  Clock::time_point local_opened_, local_used_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread closer_;  // of the store that lingers
};

}  // namespace plydisk
