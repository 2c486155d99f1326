// stations/NAME/disk, open to be written: the disk as the station's firmware has it, for an iSCSI
// target to serve.
//
// It is connected with the store's server from its first read or write on, until nothing has been
// asked for some seconds: so one that a target has open for weeks keeps no session.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "open_file.hpp"

namespace plydisk {

// Thread safety: all functions from any thread. Functions throw Error, as
// StoreCaller::open_station_disk() does.
class StationLink {
 public:
  using Report = std::function<void(const std::string& station, const std::string& sentence)>;
  // `report`: gets what nobody waits for.
  StationLink(StoreCaller& caller, const Report& report, std::string station)
      : caller_(caller), report_(report), station_(std::move(station)) {}

  void read(char* buffer, std::size_t length, std::uint64_t offset);
  void write(const char* data, std::size_t length, std::uint64_t offset);
  // Throws also what was reported since the last one.
  void flush();
  void disconnect() noexcept;
  void disconnect_if_idle(std::chrono::seconds idle) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  template <typename Fn>
  void ask(Fn&& fn);
  std::unique_ptr<StationDisk> connect() const;
  void disconnect_locked() noexcept;

  StoreCaller& caller_;
  const Report& report_;
  const std::string station_;
  std::mutex mutex_;                   // protects all below
  std::unique_ptr<StationDisk> disk_;  // null: not connected
  Clock::time_point used_;
  bool is_unflushed_ = false;
  std::optional<Error> failure_;
};

// Thread safety: open() from any thread; the links must be used no more when this is destroyed.
class StationLinks {
 public:
  StationLinks(StoreCaller& caller, StationLink::Report report)
      : caller_(caller), report_(std::move(report)) {}
  ~StationLinks();
  StationLinks(const StationLinks&) = delete;
  StationLinks& operator=(const StationLinks&) = delete;

  std::shared_ptr<StationLink> open(const std::string& station);

 private:
  void watch();

  StoreCaller& caller_;
  const StationLink::Report report_;
  std::mutex mutex_;  // protects all below
  std::vector<std::weak_ptr<StationLink>> links_;
  std::condition_variable changed_;
  bool is_stopping_ = false;
  std::thread watcher_;
};

class StationFile final : public OpenFile {
 public:
  StationFile(std::shared_ptr<StationLink> link, std::uint64_t size)
      : link_(std::move(link)), size_(size) {}
  std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) override;
  void truncate(std::uint64_t length) override;
  void flush() override { link_->flush(); }
  void close() override;
  std::uint64_t size() override { return size_; }

 private:
  const std::shared_ptr<StationLink> link_;
  const std::uint64_t size_;
};

}  // namespace plydisk
