#include "shutdown.hpp"

#include <fcntl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

#include "boot_disc.hpp"

namespace plydisk {

namespace {

constexpr const char* old_root = "/oldroot";
// Where the disk's processes have their root, before and after it is moved out of the old root.
constexpr const char* left_root = "/oldroot/run/initramfs";
constexpr const char* disk_root = "/plydisk";  // of the tree: systemd makes that read-only
constexpr const char* device = "/dev/nbd0";
// A server that is away may come back; the machine is to go off at last.
constexpr std::chrono::seconds detach_limit{90};

void say(const std::string& sentence) {
  static const int console = ::open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  const std::string line = "plydisk: " + sentence + "\n";
  // There is nobody to tell if it can't be.
  if (::write(console, line.data(), line.size()) < 0) return;
}

// The mounts below a folder, deepest first.
std::vector<std::string> mounts_below(const std::string& folder) {
  std::vector<std::string> found;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string id, parent, numbers, root, place;
    words >> id >> parent >> numbers >> root >> place;
    std::string plain;
    for (std::size_t i = 0; i < place.size(); ++i) {
      // \040 and the like
      if (place[i] == '\\' && i + 3 < place.size()) {
        plain += static_cast<char>(std::stoi(place.substr(i + 1, 3), nullptr, 8));
        i += 3;
      } else {
        plain += place[i];
      }
    }
    if (plain == folder || plain.starts_with(folder + "/")) found.push_back(plain);
  }
  // A later one lies on an earlier one, or beside it.
  std::reverse(found.begin(), found.end());
  return found;
}

bool move_disk_root() {
  // The kernel moves nothing out of mounts that are shared with other namespaces.
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (::mount(left_root, disk_root, nullptr, MS_MOVE, nullptr) == 0) return true;
  say(std::string("cannot reach the disk's processes: ") + std::strerror(errno));
  return false;
}

// What is still busy becomes read-only at least, so that its file system is clean.
void unmount_old_root() {
  for (int round = 0; round < 50; ++round) {
    bool all = true;
    for (const std::string& place : mounts_below(old_root))
      if (::umount2(place.c_str(), UMOUNT_NOFOLLOW) != 0) all = false;
    if (all) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (const std::string& place : mounts_below(old_root)) {
    say(place + " is still busy; it is made read-only");
    ::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
  }
}

// By the command in the disk's own root, whose records are there. False if it does not come to an
// end.
bool detach(bool force) {
  const int child = ::fork();
  if (child == 0) {
    const int console = ::open("/dev/console", O_RDWR | O_NOCTTY);
    for (const int fd : {0, 1, 2}) ::dup2(console, fd);
    if (::chroot(disk_root) != 0 || ::chdir("/") != 0) ::_exit(1);
    ::execl("/usr/bin/plydisk", "plydisk", "detach", device, force ? "--force" : nullptr,
            static_cast<char*>(nullptr));
    ::_exit(1);
  }
  const auto give_up = std::chrono::steady_clock::now() + detach_limit;
  int status = 0;
  while (child > 0 && std::chrono::steady_clock::now() < give_up) {
    // Others that were orphaned are this process's children, too.
    const int ended = ::waitpid(-1, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (ended <= 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (child > 0) ::kill(child, SIGKILL);
  return false;
}

// So that its drive may be opened. The processes that had it may need a moment to end.
void release_disc() {
  for (int tries = 20; !unmount_disc(disk_root); --tries) {
    if (tries == 0) return say("the disc is still in use");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

unsigned command_of(const std::string& action) {
  if (action == "reboot") return RB_AUTOBOOT;
  if (action == "halt") return RB_HALT_SYSTEM;
  if (action == "kexec") return LINUX_REBOOT_CMD_KEXEC;
  return RB_POWER_OFF;
}

}  // namespace

int shut_down(const std::string& action) noexcept {
  try {
    ::sync();
    if (move_disk_root()) {
      unmount_old_root();
      ::sync();
      if (!detach(false) && !detach(true)) say("the disk stays attached");
      release_disc();
    }
  } catch (const std::exception& error) {
    say(error.what());
  }
  ::sync();
  ::reboot(static_cast<int>(command_of(action)));
  // No kernel was loaded for kexec.
  ::reboot(RB_AUTOBOOT);
  say(std::string("cannot ") + action + ": " + std::strerror(errno));
  return 1;
}

}  // namespace plydisk
