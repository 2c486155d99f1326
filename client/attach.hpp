// What attaching a disk takes before and around its supervisor: its record, its store, and the
// processes in the background. Functions throw Error. Thread safety: one thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "attached_disk.hpp"
#include "backing/nbd_uri.hpp"

namespace plydisk {

struct AttachOptions {
  std::string uri;                 // of a server's export; or a file or block device here
  std::optional<unsigned> device;  // none: the first free one
  std::string socket;              // serve on this Unix socket, without a device
  std::string station;             // empty: the host's name
  TlsOptions tls;                  // on top of what the URI says
  std::string secret_file;         // empty: there is no secret
  std::string writes;  // empty: what a plydisk server says for the station, or client-ram
  std::string folder;  // on a disk of this station, for layers in files; empty: there are none
  unsigned connections = 4;
  std::optional<unsigned> patience;  // seconds
  bool read_only = false;
  bool multicast = false;     // join as soon as it is attached
  bool discard = false;       // layers that lie on another version of the disk
  bool keep_version = false;  // or use the version that they lie on
  bool foreground = false;
};

// Attaches a disk, and returns it once it can be used; or, in the foreground, once it has been
// detached. Goes on with one whose supervisor was killed. `ready` is called when it can be used.
AttachedDisk attach(const AttachOptions& options,
                    const std::function<void(const AttachedDisk&)>& ready);

// EBUSY, with who uses it, unless `force`.
void detach(const AttachedDisk& disk, bool force);

// The plan with a size for client-ram, half of this machine's memory, if it has none.
std::string with_memory_limit(const std::string& plan);

}  // namespace plydisk
