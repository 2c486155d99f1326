// An nbdkit in the guest itself, to be killed.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "nbd_handshake.hpp"

namespace plydisk::test {

class LocalServer {
 public:
  // `plugin` is nbdkit's: {"memory", "64M"}. Its socket gets the name of `name`.
  LocalServer(const std::string& name, std::vector<std::string> plugin);
  ~LocalServer() { kill(); }
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  void start();
  // SIGKILL. What it left behind is removed.
  void kill();
  // Its handshake, as soon as it listens.
  NbdHandshake connect() const;
  std::size_t open_descriptors() const;

 private:
  std::filesystem::path socket_;
  std::vector<std::string> plugin_;
  pid_t pid_ = -1;
};

// Of a process; "self" for this one.
std::size_t descriptors_of(const std::string& process);

}  // namespace plydisk::test
