// The handshake with a local NBD server whose connection the kernel shall have afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/file.hpp"

namespace plydisk {

struct NbdHandshake {
  // Ours, close-on-exec, and past the handshake. Whoever keeps it after the kernel has it can end
  // the connection in an orderly way, by shutdown(2), and sees by POLLHUP that the server has gone.
  UniqueFd socket;
  std::uint64_t size = 0;  // bytes
  // NBD_FLAG_… of the transmission phase, as KernelNbd::connect takes them.
  std::uint64_t flags = 0;
  bool read_only = false;
};

// Connects to `export_name` at a server's Unix socket, without structured replies, which the kernel
// does not understand. Throws Error: ETIMEDOUT after `limit`; ENOENT or ECONNREFUSED if no server
// listens there (yet); EINVAL for an export that does not take the kernel's requests, which are of
// 512 bytes; or what else stopped it.
NbdHandshake shake_hands(const std::filesystem::path& socket, const std::string& export_name,
                         std::chrono::milliseconds limit);

}  // namespace plydisk
