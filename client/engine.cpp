#include "engine.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

namespace {

UniqueFd open_process(int pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// A command line is seen by all users, this file by root alone. Returns its path.
std::string hidden(const AttachedDisk& disk, const char* name, const std::string& text) {
  const auto path = disk.folder() / name;
  write_text_file(path, text);
  return path;
}

std::vector<std::string> command_line(const AttachedDisk& disk) {
  // As this command was called: what begins with "@" is not ended by systemd at shutdown.
  const bool stays = *program_invocation_name == '@';
  std::vector<std::string> words{stays ? "@nbdkit" : "nbdkit", "--foreground", "--unix",
                                 disk.socket.string()};
  if (disk.read_only) words.push_back("--readonly");
  words.insert(words.end(), {plugin_path("plydisk"), "store=" + disk.store.string(),
                             "memory=" + disk.memory().string(),
                             std::string("files=") + (disk.keeps_files ? "yes" : "no"),
                             "connections=" + std::to_string(disk.connections)});
  if (!disk.control.empty())
    words.insert(words.end(), {"session=+" + hidden(disk, "session", disk.token),
                               "control=+" + hidden(disk, "control", disk.control)});
  if (disk.multicast) words.push_back("multicast=yes");
  if (disk.patience) words.push_back("patience=" + std::to_string(*disk.patience));
  return words;
}

// Notes down this process as the disk's engine, for as long as it lives, and tells `report` so.
void become_the_only_engine(const std::string& pid_file, int report) {
  const int file = ::open(pid_file.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0 || ::flock(file, LOCK_EX | LOCK_NB) != 0) ::_exit(1);
  std::array<char, 16> pid{};
  const auto length =
      std::to_chars(pid.data(), pid.data() + pid.size() - 1, ::getpid()).ptr - pid.data();
  pid[static_cast<std::size_t>(length)] = '\n';
  if (::ftruncate(file, 0) != 0 ||
      ::write(file, pid.data(), static_cast<std::size_t>(length) + 1) != length + 1 ||
      ::write(report, pid.data(), 1) != 1)
    ::_exit(1);
}

// In the child, before the program: no terminal, nothing open of who called the command, and safe
// from what happens when memory is short. That fails where it is not allowed, and the disk works
// without it.
void become_engine(int log) {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&blocked, signal);
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
  ::setsid();
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0 && ::write(score, "-1000", 5) < 0) ::close(score);
}

}  // namespace

// PLYDISK_PLUGIN names the main one, and the others lie beside it.
std::string plugin_path(const std::string& name) {
  const std::string file = "nbdkit-" + name + "-plugin.so";
  const char* const named = std::getenv("PLYDISK_PLUGIN");
  if (named != nullptr && *named != '\0')
    return name == "plydisk" ? named : std::filesystem::path(named).replace_filename(file).string();
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto built = self.parent_path().parent_path() / "plugin" / file;
  return !error && std::filesystem::exists(built) ? built.string() : name;
}

bool Engine::adopt() {
  process_.reset();
  const UniqueFd file(::open(disk_.engine_pid().c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  for (int tries = 5000; ::flock(file.get(), LOCK_SH | LOCK_NB) != 0; --tries) {
    // One that has just taken the lock may not have written its number yet.
    const int pid = std::atoi(read_text_file(disk_.engine_pid()).c_str());
    if (pid > 0) process_ = open_process(pid);
    if (is_running()) return true;
    if (tries == 0) throw Error(EAGAIN, disk_.engine_pid().string() + " is locked, by no engine");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  process_.reset();
  return false;
}

void Engine::start() {
  if (adopt()) return;
  // The last one may have been this process's child.
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  // A killed one leaves it behind.
  std::error_code ignored;
  std::filesystem::remove(disk_.socket, ignored);
  const std::vector<std::string> words = command_line(disk_);
  std::vector<char*> arguments;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const std::string pid_file = disk_.engine_pid();
  const UniqueFd log(::open(disk_.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) throw_errno("cannot open " + disk_.log().string());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("cannot make a pipe");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const int child = ::fork();
  if (child < 0) throw_errno("cannot start the disk's engine");
  if (child == 0) {
    become_engine(log.get());
    become_the_only_engine(pid_file, writer.get());
    ::execvp(arguments.front(), arguments.data());
    ::_exit(127);
  }
  writer.reset();
  char written = 0;
  while (::read(reader.get(), &written, 1) < 0 && errno == EINTR) {
  }
  // Else it has ended at once, and its log says why.
  adopt();
}

bool Engine::is_running() const {
  if (!process_) return false;
  pollfd ended{process_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

void Engine::stop(std::chrono::milliseconds limit) {
  if (!process_) return;
  // The signals that would end it are blocked, but for this one.
  ::syscall(SYS_pidfd_send_signal, process_.get(), SIGQUIT, nullptr, 0);
  pollfd ended{process_.get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(limit.count())) == 0) {
    ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
    ::poll(&ended, 1, -1);
  }
  process_.reset();
}

}  // namespace plydisk
