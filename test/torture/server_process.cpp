#include "server_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "base/file.hpp"

namespace plydisk::torture {

namespace {

std::string required_setting(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr)
    throw std::runtime_error(std::string(name) + " is not set; meson test sets it");
  return value;
}

// Starts a program with its output in `out`. Only what a child may do between fork and exec.
pid_t start(std::vector<std::string> words, int out, const char* preload) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("cannot fork");
  if (pid != 0) return pid;
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  if (preload != nullptr) ::setenv("LD_PRELOAD", preload, 1);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool can_connect(const std::string& path) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

ServerProcess::ServerProcess(const std::filesystem::path& store)
    : socket_(store.string() + ".socket"), log_(store.string() + ".log") {
  // A killed server leaves its socket behind.
  ::unlink(socket_.c_str());
  const UniqueFd out(::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  // nbdkit has no sanitizer of its own, so a plugin that has one needs its library there first.
  pid_ = start({"nbdkit", "--exit-with-parent", "--foreground", "--unix", socket_,
                required_setting("PLYDISK_PLUGIN"), "store=" + store.string()},
               out.get(), std::getenv("PLYDISK_PRELOAD"));
  wait_for_socket();
}

ServerProcess::~ServerProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ServerProcess::wait_for_socket() {
  using namespace std::chrono_literals;
  for (unsigned tries = 0; tries < 1500; ++tries) {
    if (can_connect(socket_)) return;
    if (::waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;
      throw std::runtime_error("the server does not start: " + text_of(log_));
    }
    std::this_thread::sleep_for(20ms);
  }
  throw std::runtime_error("the server does not listen after 30 seconds: " + text_of(log_));
}

void ServerProcess::kill() {
  ::kill(pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
    throw std::runtime_error("the server had ended before it was killed: " + text_of(log_));
}

void ServerProcess::stop() {
  ::kill(pid_, SIGTERM);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error("the server did not end well: " + text_of(log_));
}

CommandResult run_plydisk(const std::filesystem::path& store, std::vector<std::string> arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  std::vector<std::string> words{required_setting("PLYDISK_COMMAND"), "--store", store.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const pid_t pid = start(std::move(words), out.get(), nullptr);
  out.reset();
  CommandResult result;
  std::array<char, 4096> buffer{};
  for (ssize_t got; (got = ::read(in.get(), buffer.data(), buffer.size())) > 0;)
    result.output.append(buffer.data(), static_cast<std::size_t>(got));
  int status = 0;
  ::waitpid(pid, &status, 0);
  result.succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return result;
}

std::string require_plydisk(const std::filesystem::path& store,
                            std::vector<std::string> arguments) {
  std::string line = "plydisk";
  for (const std::string& argument : arguments) line += " " + argument;
  CommandResult result = run_plydisk(store, std::move(arguments));
  if (!result.succeeded) throw std::runtime_error(line + " fails: " + result.output);
  return std::move(result.output);
}

}  // namespace plydisk::torture
