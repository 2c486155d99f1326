// Keeps an attached disk alive: starts its engine, gives the kernel the connection to it, and does
// both again whenever one of them is lost. To the station that is a pause.
//
// SIGTERM or SIGINT: detach, unless the disk is in use. SIGUSR1: detach in any case, at once.
// Thread safety: one thread, which has these signals blocked.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "attached_disk.hpp"
#include "engine.hpp"
#include "kernel_nbd.hpp"
#include "nbd_device.hpp"
#include "nbd_handshake.hpp"

namespace plydisk {

class Supervisor {
 public:
  explicit Supervisor(const AttachedDisk& disk);

  // Returns when the disk can be used, or throws with nothing left behind of what it did.
  void begin();
  // Goes on after an earlier supervisor, which was killed.
  void resume();
  // Returns when the disk has been detached.
  void run();
  // Detaches a disk that has no supervisor any more.
  void detach_by_force();

 private:
  using Clock = std::chrono::steady_clock;

  NbdHandshake shake_hands_with_engine();
  void wait_for_engine();
  void make_device();
  void scan_partitions(const NbdDevice& device);
  void offer_link();
  bool has_hung_up() const;
  void reconnect();
  void lose_link(const std::string& why);
  void handle_signal();
  void try_to_detach(bool force);
  void tear_down(bool force);
  bool engine_ends_session();
  void attempt_to_end(const std::function<void()>& end) const;
  void end_session(bool force);
  int timeout_ms() const;
  void log(const std::string& sentence) const;

  const AttachedDisk disk_;
  Engine engine_{disk_};
  UniqueFd signals_;
  std::optional<KernelNbd> kernel_;  // before the disk is made, so that no dead link is missed
  std::optional<NbdHandshake> link_;
  bool link_lost_ = false;
  bool detached_ = false;
  Clock::time_point next_try_;
  std::optional<Clock::time_point> offer_again_;
  std::string last_failure_;
};

// For a process that a disk stands on: it must not wait for memory that is to be freed by writing
// to that very disk, nor be killed for want of it. Forked processes inherit all but locked memory.
void survive_memory_shortage();

// Makes what a disk needs before its engine starts, and undoes it.
void mount_memory(const AttachedDisk& disk);
void remove_disk_folder(const AttachedDisk& disk);
// All of a disk whose supervisor has not come to the end of begin(): it may have been killed there.
void abandon_disk(const AttachedDisk& disk) noexcept;

}  // namespace plydisk
