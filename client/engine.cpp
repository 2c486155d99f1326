#include "engine.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

namespace {

UniqueFd open_process(int pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// Beside this program as it is built, or the one that is installed.
std::string plugin_path() {
  const char* const named = std::getenv("PLYDISK_PLUGIN");
  if (named != nullptr && *named != '\0') return named;
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto built = self.parent_path().parent_path() / "plugin" / "nbdkit-plydisk-plugin.so";
  return !error && std::filesystem::exists(built) ? built.string() : "plydisk";
}

std::vector<std::string> command_line(const AttachedDisk& disk) {
  std::vector<std::string> words{"nbdkit", "--foreground", "--unix", disk.socket.string()};
  if (disk.read_only) words.push_back("--readonly");
  words.insert(words.end(),
               {plugin_path(), "store=" + disk.store.string(), "memory=" + disk.memory().string(),
                std::string("files=") + (disk.keeps_files ? "yes" : "no"),
                "connections=" + std::to_string(disk.connections)});
  if (!disk.control.empty())
    words.insert(words.end(), {"session=" + disk.token, "control=" + disk.control,
                               "control-image=" + disk.image});
  if (disk.patience) words.push_back("patience=" + std::to_string(*disk.patience));
  return words;
}

// In the child, before the program: signals as they were, no terminal, and safe from what happens
// when memory is short. That fails where it is not allowed, and the disk works without it.
void become_engine(int log) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0 && ::write(score, "-1000", 5) < 0) ::close(score);
}

}  // namespace

bool Engine::adopt() {
  if (!std::filesystem::exists(disk_.engine_pid())) return false;
  pid_ = std::atoi(read_text_file(disk_.engine_pid()).c_str());
  if (pid_ <= 0) return false;
  process_ = open_process(pid_);
  if (!process_) return false;
  // Another process may have the number by now.
  const std::filesystem::path entry = "/proc/" + std::to_string(pid_);
  std::ifstream in(entry / "cmdline", std::ios::binary);
  const std::string line{std::istreambuf_iterator<char>(in), {}};
  if (line.find(disk_.socket.string()) != std::string::npos && is_running()) return true;
  process_.reset();
  return false;
}

void Engine::start() {
  if (pid_ > 0) reap();
  // A killed one leaves it behind.
  std::error_code ignored;
  std::filesystem::remove(disk_.socket, ignored);
  const std::vector<std::string> words = command_line(disk_);
  std::vector<char*> arguments;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const UniqueFd log(::open(disk_.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) throw_errno("cannot open " + disk_.log().string());
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("cannot start the disk's engine");
  if (pid_ == 0) {
    become_engine(log.get());
    ::execvp(arguments.front(), arguments.data());
    ::_exit(127);
  }
  process_ = open_process(pid_);
  if (!process_) throw_errno("cannot watch the disk's engine");
  std::ofstream(disk_.engine_pid(), std::ios::trunc) << pid_ << "\n";
}

bool Engine::is_running() const {
  if (!process_) return false;
  pollfd ended{process_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

void Engine::stop(std::chrono::milliseconds limit) {
  if (!process_) return;
  ::syscall(SYS_pidfd_send_signal, process_.get(), SIGTERM, nullptr, 0);
  pollfd ended{process_.get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(limit.count())) == 0) {
    ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
    ::poll(&ended, 1, -1);
  }
  reap();
  process_.reset();
}

// Of a child; another one's is not ours to reap.
void Engine::reap() const { ::waitpid(pid_, nullptr, WNOHANG); }

}  // namespace plydisk
