#include "local_server.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/error.hpp"

namespace plydisk::test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

LocalServer::LocalServer(const std::string& name, std::vector<std::string> plugin)
    : socket_("/run/" + name + ".socket"), plugin_(std::move(plugin)) {
  start();
}

void LocalServer::start() {
  std::vector<std::string> words{"nbdkit", "--foreground", "--exit-with-parent", "--unix",
                                 socket_.string()};
  words.insert(words.end(), plugin_.begin(), plugin_.end());
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // Whoever reads what the test prints waits for all who may print there.
  const std::string log = socket_.string() + ".log";
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  const int error = ::posix_spawnp(&pid_, "nbdkit", &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw_errno(error, "cannot start nbdkit");
}

void LocalServer::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  std::error_code ignored;
  fs::remove(socket_, ignored);
}

NbdHandshake LocalServer::connect() const {
  for (int tries = 600;; --tries) {
    try {
      return shake_hands(socket_, "", 10s);
    } catch (const Error& error) {
      if ((error.code() != ENOENT && error.code() != ECONNREFUSED) || tries == 0) throw;
    }
    std::this_thread::sleep_for(50ms);
  }
}

std::size_t descriptors_of(const std::string& process) {
  const fs::directory_iterator all("/proc/" + process + "/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::size_t LocalServer::open_descriptors() const { return descriptors_of(std::to_string(pid_)); }

}  // namespace plydisk::test
