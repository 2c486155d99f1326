// nbdkit with the plugin on a store, as a child process, and the plydisk command.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace plydisk::torture {

class ServerProcess {
 public:
  // Starts nbdkit on a Unix socket beside the store. The plugin is $PLYDISK_PLUGIN.
  explicit ServerProcess(const std::filesystem::path& store);
  // Kills it if it still runs.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& socket() const { return socket_; }
  // SIGKILL. Throws if it had ended by itself.
  void kill();
  // SIGTERM; throws if it does not end well.
  void stop();

 private:
  void wait_for_socket();

  std::string socket_, log_;
  pid_t pid_ = -1;
};

struct CommandResult {
  bool succeeded = false;
  std::string output;  // standard output and error
};
// Runs the plydisk command ($PLYDISK_COMMAND) on the store.
CommandResult run_plydisk(const std::filesystem::path& store, std::vector<std::string> arguments);
// The same; throws with its output if it fails.
std::string require_plydisk(const std::filesystem::path& store, std::vector<std::string> arguments);

}  // namespace plydisk::torture
