// Multicast at a station, whose engine has one disk at a time.
//
// Thread safety: all functions from any thread.
#pragma once

#include <memory>
#include <mutex>

#include "multicast/multicast_backing.hpp"

namespace plydisk {

class MulticastStation {
 public:
  // `joins`: as soon as there is a disk.
  MulticastStation(std::shared_ptr<MulticastUpstream> upstream, bool joins)
      : upstream_(std::move(upstream)), joins_(joins) {}

  // For StoreOptions::over_server.
  std::shared_ptr<Backing> over(std::shared_ptr<Backing> server) {
    auto backing = std::make_shared<MulticastBacking>(std::move(server), upstream_);
    const std::lock_guard lock(mutex_);
    backing_ = backing;
    if (joins_) backing->begin_to_join();
    return backing;
  }
  // These throw Error(ENOENT) if there is no disk.
  MulticastBacking::Status join() {
    const auto backing = require_disk(true);
    backing->join();
    return backing->status();
  }
  MulticastBacking::Status leave() {
    const auto backing = require_disk(false);
    backing->leave();
    return backing->status();
  }
  MulticastBacking::Status status() { return require_disk(std::nullopt)->status(); }

 private:
  // `joins`: whether the disks that are to come are to join; none: as before.
  std::shared_ptr<MulticastBacking> require_disk(std::optional<bool> joins) {
    const std::lock_guard lock(mutex_);
    if (joins) joins_ = *joins;
    auto backing = backing_.lock();
    if (!backing) throw Error(ENOENT, "the station has no disk of a server now");
    return backing;
  }

  const std::shared_ptr<MulticastUpstream> upstream_;
  std::mutex mutex_;  // protects all below
  bool joins_;
  std::weak_ptr<MulticastBacking> backing_;
};

}  // namespace plydisk
