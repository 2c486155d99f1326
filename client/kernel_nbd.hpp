// The Linux kernel's NBD client, by generic netlink: gives a connection past its handshake to the
// kernel, which makes a disk of it, and replaces the connection when its server dies.
//
// A disk outlives its server, and requests wait, for as long as the kernel was told at connect. It
// waits well only with one connection a disk and without its own timeout for requests: with
// several, or with that timeout, requests of a server that is merely slow, or the ones under way
// when a connection is replaced, can be lost. So that is all that is offered. A process that
// connects a disk need not go on living: another one can reconfigure and disconnect it.
//
// To keep a disk alive: NbdDevice::set_queue_limits after connect, then wait for link_descriptor();
// when dead_links() names the disk, shake hands anew and reconfigure.
//
// Needs Linux 6.1 or newer, root, and the first network namespace: others hear of no dead links.
// Thread safety: one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct nl_sock;

namespace plydisk {

class KernelNbd {
 public:
  // Listens for dead links from here on, so that none of a later connect is missed. Throws Error:
  // ENODEV if the kernel has no NBD driver loaded.
  KernelNbd();

  static constexpr std::chrono::seconds one_year = std::chrono::hours(24 * 365);

  struct Disk {
    int socket = -1;               // stays the caller's; the kernel has its own reference
    std::uint64_t size_bytes = 0;  // a multiple of 512
    std::uint64_t flags = 0;       // NBD_FLAG_…, see NbdHandshake
    // Names what is behind the disk, whichever server it comes from: a reconfigure must give the
    // same. /sys/block/nbdX/backend shows it.
    std::string backend;
    // How long requests wait for a new connection when the link is dead, before they fail.
    std::chrono::seconds dead_link_limit = one_year;
  };
  // Makes a disk of a connection, with sectors of 512 bytes; returns its index, which is the first
  // free one if none is given. Throws Error: EBUSY if that is taken, EPERM unless root.
  unsigned connect(std::optional<unsigned> index, const Disk& disk);

  // Gives a disk whose link is dead another connection. Does nothing if the link is not dead, and
  // the kernel does not tell; nor does it always announce a dead link, if it is short of memory. So
  // look for POLLHUP on the old socket too, and repeat the call after a moment: with the same
  // socket it is harmless. Throws Error: EINVAL if the device is not connected or has another
  // backend.
  void reconfigure(unsigned index, int socket, const std::string& backend);

  // Takes the disk away, and its partitions; what is still under way fails. The kernel first tells
  // the server, and waits for ever if that neither reads nor dies: shut such a socket down before.
  // Nothing happens if the device has no disk. Throws Error: ENODEV if there is no such device.
  void disconnect(unsigned index);

  struct Status {
    unsigned index;
    // Or was disconnected and is still open, or has no disk and is open: it can't be connected.
    bool is_taken;
  };
  // All devices that there are, in the order of their indices.
  std::vector<Status> status();

  // Readable when dead_links() has something to tell.
  int link_descriptor() const noexcept;
  // The devices whose link died since the last call; not those that were disconnected. Does not
  // block. If so many died that the kernel could not keep account: all that are taken. The word may
  // come late, when the disk has its next link already: that one is alive unless its socket has
  // POLLHUP.
  std::vector<unsigned> dead_links();

 private:
  class Request;
  struct Closer {
    void operator()(nl_sock* socket) const noexcept;
  };

  std::unique_ptr<nl_sock, Closer> links_, requests_;
  int family_ = 0;
};

}  // namespace plydisk
