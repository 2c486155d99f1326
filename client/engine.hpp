// The process that does the work behind an attached disk: nbdkit with our plugin, over the
// station's store, listening on a Unix socket of its own.
//
// It outlives the process that started it, and is found again by engine.pid: the engine holds a
// lock on that file, which has its process number, so that there are never two. SIGTERM, SIGINT and
// SIGHUP do not reach it, since it would answer what is under way with errors: it ends with its
// disk. One of them is what nbdkit 1.32, in the foreground, asks for at its parent's death.
//
// Thread safety: one thread.
#pragma once

#include <chrono>
#include <string>

#include "attached_disk.hpp"
#include "base/file.hpp"

namespace plydisk {

// Of one of nbdkit's plugins that are plydisk's: the path of the one that was built with this
// program, or the name of the installed one.
std::string plugin_path(const std::string& name);

class Engine {
 public:
  // Nothing is started yet.
  explicit Engine(const AttachedDisk& disk) : disk_(disk) {}

  // Takes over the one that an earlier supervisor started. False if it does not run.
  bool adopt();
  // Or adopts one that runs already.
  void start();
  // Readable once the process has ended; -1: there is none.
  int descriptor() const noexcept { return process_.get(); }
  bool is_running() const;
  // Ends it: in order if it does so within `limit`, else at once.
  void stop(std::chrono::milliseconds limit);

 private:
  const AttachedDisk& disk_;
  UniqueFd process_;  // a pidfd
};

}  // namespace plydisk
