// DiskLoad for scripts.
//
//   disk-load prepare FILE BYTES [GENERATION]   makes the content of a disk
//   disk-load check FILE BYTES [GENERATION]     expects that
//   disk-load run DEVICE STATUS                 works on such a disk, until it is told to end
//
// SIGUSR1: read and check every block, then go on. SIGTERM: the same, and end. STATUS is a file
// with "REQUESTS CHECKS LONGEST_MS": how many requests were answered, how often all was checked,
// and how long the slowest request since the last check took.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
// After the others: it clashes with sys/mount.h.
#include <linux/fs.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "disk_load.hpp"

namespace {

using namespace plydisk;
using test::DiskLoad;

std::uint64_t size_of(const std::string& device) {
  std::uint64_t size = 0;
  if (::ioctl(File::open(device, O_RDONLY).fd(), BLKGETSIZE64, &size) != 0)
    throw_errno("cannot tell the size of " + device);
  return size;
}

void write_status(const std::string& path, const DiskLoad& load, unsigned checks,
                  std::int64_t longest_ms) {
  const std::string unfinished = path + ".new";
  std::ofstream(unfinished) << load.count() << " " << checks << " " << longest_ms << "\n";
  std::filesystem::rename(unfinished, path);
}

void run(DiskLoad& load, const std::string& status, int signals) {
  unsigned checks = 0;
  std::int64_t longest_ms = 0;
  for (bool is_over = false; !is_over;) {
    pollfd told{signals, POLLIN, 0};
    signalfd_siginfo signal{};
    if (::poll(&told, 1, 100) == 1 &&
        ::read(signals, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
      is_over = signal.ssi_signo == SIGTERM;
      is_over ? load.stop_and_verify() : load.verify();
      ++checks;
      longest_ms = 0;
      load.take_longest();
    }
    load.throw_if_failed();
    longest_ms = std::max<std::int64_t>(longest_ms, load.take_longest().count());
    write_status(status, load, checks, longest_ms);
  }
}

// Without destructors: the threads of the load may wait for ever.
[[noreturn]] void fail(const Error& error) {
  std::cout << "FAILED: " << error.what() << std::endl;
  ::_exit(1);
}

}  // namespace

int main(int count, char** words) {
  const std::string verb = count >= 4 ? words[1] : "";
  const auto bytes = count >= 4 ? std::strtoull(words[3], nullptr, 10) : 0;
  const auto generation = count == 5 ? static_cast<std::uint32_t>(std::atoi(words[4])) : 1;
  try {
    if (verb == "prepare") {
      DiskLoad::prepare(words[2], bytes, generation);
    } else if (verb == "check") {
      DiskLoad::check(words[2], bytes, generation);
    } else if (verb == "run") {
      sigset_t watched;
      sigemptyset(&watched);
      sigaddset(&watched, SIGUSR1);
      sigaddset(&watched, SIGTERM);
      ::sigprocmask(SIG_BLOCK, &watched, nullptr);
      const UniqueFd signals(::signalfd(-1, &watched, SFD_CLOEXEC));
      DiskLoad load(words[2], size_of(words[2]), true);
      try {
        run(load, words[3], signals.get());
      } catch (const Error& error) {
        fail(error);
      }
    } else {
      std::cerr << "usage: disk-load prepare|check FILE BYTES [GENERATION] | run DEVICE STATUS\n";
      return 2;
    }
  } catch (const Error& error) {
    fail(error);
  }
  return 0;
}
