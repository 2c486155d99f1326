// The process that does the work behind an attached disk: nbdkit with our plugin, over the
// station's store, listening on a Unix socket of its own.
//
// It outlives the process that started it, and is found again by its process number.
// Thread safety: one thread.
#pragma once

#include <chrono>
#include <string>

#include "attached_disk.hpp"
#include "base/file.hpp"

namespace plydisk {

class Engine {
 public:
  // Nothing is started yet.
  explicit Engine(const AttachedDisk& disk) : disk_(disk) {}

  // Takes over the one that an earlier supervisor started. False if it does not run.
  bool adopt();
  void start();
  // Readable once the process has ended; -1: there is none.
  int descriptor() const noexcept { return process_.get(); }
  bool is_running() const;
  // Ends it: as it should be if it does so within `limit`, else at once.
  void stop(std::chrono::milliseconds limit);

 private:
  void reap() const;

  const AttachedDisk& disk_;
  UniqueFd process_;  // a pidfd
  int pid_ = 0;
};

}  // namespace plydisk
