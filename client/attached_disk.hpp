// A disk that is attached to this station: what it was attached with, and where its things are.
//
//   RUN/NAME/            RUN is $PLYDISK_RUN or /run/plydisk; NAME is "nbd0", or the socket's path
//                        with each "/" as "-"
//     disk.json          this record
//     lock               flock'ed by the disk's supervisor; holds its pid
//     engine.sock        the engine's Unix socket, if nobody asked for another path
//     engine.pid         flock'ed by the engine; holds its pid
//     memory/            a tmpfs with the layers of client-ram
//     store/             the station's store, unless it lies in the folder that the user gave
//     log                what supervisor and engine say
//     refused            why the supervisor did not detach the disk when it was asked to
//
// Functions throw Error. Thread safety: one thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"

namespace plydisk {

struct AttachedDisk {
  std::string name;
  std::optional<unsigned> device;  // of /dev/nbdX; none: the socket alone
  std::filesystem::path socket;    // where the engine listens
  // The server's export, as the user said it; or the path of a file or block device here.
  std::string uri;
  std::string image;  // its name in the station's store, and at a plydisk server
  // Of a plydisk server: what the export is asked for with, and where its control connection is.
  std::string token, control;
  std::string uuid;  // of a plydisk server's image
  std::string station;
  std::string writes;  // the plan it was attached with
  std::filesystem::path store;
  bool keeps_files = false;
  bool read_only = false;
  bool multicast = false;  // joins as soon as it is attached
  unsigned connections = 4;
  std::optional<unsigned> patience;  // seconds

  std::filesystem::path folder() const;
  std::filesystem::path memory() const { return folder() / "memory"; }
  std::filesystem::path log() const { return folder() / "log"; }
  std::filesystem::path refusal() const { return folder() / "refused"; }
  std::filesystem::path engine_pid() const { return folder() / "engine.pid"; }
  // What users call it: "/dev/nbd0", or the socket's path.
  std::string title() const;
  // IMAGE@STATION: the engine's export, and the session's name.
  std::string session() const { return image + "@" + station; }
  // By which the kernel's device is known to be this disk's.
  std::string backend() const { return name + " " + uri; }
  void save() const;
};

std::filesystem::path run_folder();
// The name of the disk that a user means by "/dev/nbd0", "nbd0" or the path of a socket.
std::string disk_name(const std::string& text);
// Nothing if no such disk is attached.
std::optional<AttachedDisk> find_disk(const std::string& text);
// ENODEV with what is attached instead.
AttachedDisk require_disk(const std::string& text);
std::vector<AttachedDisk> attached_disks();

// The right to supervise a disk. Thread safety: one thread.
class SupervisorLock {
 public:
  // Nothing if another process has it.
  static std::optional<SupervisorLock> take(const AttachedDisk& disk);
  // The process that has it now; 0: none.
  static int holder(const AttachedDisk& disk);
  // Writes down this process, which goes on with the lock of its parent.
  void note_pid() const;
  int descriptor() const noexcept { return fd_.get(); }

 private:
  explicit SupervisorLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace plydisk
