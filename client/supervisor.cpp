#include "supervisor.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <future>
#include <thread>

#include "base/error.hpp"
#include "control/client.hpp"
#include "control/server_link.hpp"
#include "nbd_device.hpp"
#include "store/store.hpp"

namespace plydisk {

namespace {

constexpr std::chrono::milliseconds between_tries{100};
constexpr std::chrono::milliseconds between_offers{200};
constexpr std::chrono::milliseconds handshake_limit{10000};
constexpr std::chrono::milliseconds engine_limit{10000};  // to end as it should
constexpr std::chrono::seconds longest_start{60};

// What the engine said last before it gave up.
std::string last_error(const std::filesystem::path& log) {
  std::ifstream in(log);
  std::string found;
  for (std::string line; std::getline(in, line);)
    if (const auto at = line.find("error: "); at != std::string::npos) found = line.substr(at + 7);
  return found;
}

// The disk, for this process alone: nobody can mount it meanwhile.
UniqueFd claim(const NbdDevice& device) {
  return UniqueFd(::open(device.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
}

}  // namespace

void survive_memory_shortage() {
  // What is not allowed is done without. Only what is touched, since the stacks of threads that
  // have ended are tens of megabytes; but all code, which must not be read from a disk that waits.
  ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (line.find(" r-xp ") != line.npos && std::sscanf(line.c_str(), "%lx-%lx", &from, &to) == 2)
      ::mlock(reinterpret_cast<const void*>(from), to - from);
  }
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  std::ofstream("/proc/self/oom_score_adj") << "-1000\n";
}

void mount_memory(const AttachedDisk& disk) {
  const auto folder = disk.memory();
  // What an attach that was killed has left.
  while (::umount2(folder.c_str(), MNT_DETACH) == 0) {
  }
  std::filesystem::create_directory(folder);
  // The layers keep to their own limits.
  if (::mount("plydisk", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0700,size=0") == 0)
    return;
  const int code = errno;
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) == 0 && info.f_type == TMPFS_MAGIC) return;
  throw_errno(code, "cannot mount a file system in memory on " + folder.string());
}

void remove_disk_folder(const AttachedDisk& disk) {
  while (::umount2(disk.memory().c_str(), MNT_DETACH) == 0) {
  }
  std::error_code ignored;
  std::filesystem::remove(disk.socket, ignored);
  std::filesystem::remove_all(disk.folder(), ignored);
}

void abandon_disk(const AttachedDisk& disk) noexcept {
  try {
    Engine engine(disk);
    if (engine.adopt()) engine.stop(std::chrono::milliseconds(0));
    if (disk.device && NbdDevice(*disk.device).backend() == disk.backend())
      KernelNbd().disconnect(*disk.device);
  } catch (const std::exception&) {
    // What is left is what the reason for it left.
  }
  remove_disk_folder(disk);
}

Supervisor::Supervisor(const AttachedDisk& disk) : disk_(disk) {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&watched, signal);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  signals_ = UniqueFd(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) throw_errno("cannot wait for signals");
  survive_memory_shortage();
}

void Supervisor::log(const std::string& sentence) const {
  std::array<char, 32> when{};
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  std::strftime(when.data(), when.size(), "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&now, &parts));
  std::ofstream(disk_.log(), std::ios::app) << when.data() << " " << sentence << "\n";
}

NbdHandshake Supervisor::shake_hands_with_engine() {
  return shake_hands(disk_.socket, disk_.session(), handshake_limit);
}

// Until the engine serves the disk. It needs its server for that.
void Supervisor::wait_for_engine() {
  const auto give_up = Clock::now() + longest_start;
  while (true) {
    // An export that is refused is ENOENT, as a socket is that is not there yet.
    const bool was_there = std::filesystem::exists(disk_.socket);
    try {
      link_ = shake_hands_with_engine();
      return;
    } catch (const Error& error) {
      const std::string reason = last_error(disk_.log());
      const bool is_starting =
          error.code() == ECONNREFUSED || (error.code() == ENOENT && !was_there);
      if (!engine_.is_running() || !is_starting || Clock::now() > give_up)
        throw Error(error.code(), reason.empty() ? error.what() : reason);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// The kernel waits for the engine, and nobody would start another one meanwhile.
void Supervisor::scan_partitions(const NbdDevice& device) {
  auto scan = std::async(std::launch::async, [&device] { device.scan_partitions(); });
  while (scan.wait_for(between_tries) != std::future_status::ready) {
    if (engine_.is_running() && !has_hung_up()) continue;
    kernel_->disconnect(*disk_.device);
    scan.wait();
    const std::string reason = last_error(disk_.log());
    throw Error(ECHILD, reason.empty() ? "the disk's engine has ended unexpectedly" : reason);
  }
  scan.get();
}

void Supervisor::make_device() {
  const NbdDevice device(*disk_.device);
  kernel_->connect(disk_.device, {.socket = link_->socket.get(),
                                  .size_bytes = link_->size,
                                  .flags = link_->flags,
                                  .backend = disk_.backend()});
  try {
    device.set_queue_limits();
    scan_partitions(device);
  } catch (const Error& error) {
    // Whoever has a partition open by now, such as udev, has made the kernel read the table.
    if (error.code() == EBUSY) return;
    kernel_->disconnect(*disk_.device);
    throw;
  }
}

void Supervisor::begin() {
  if (disk_.device) kernel_.emplace();
  engine_.start();
  try {
    wait_for_engine();
    if (disk_.device)
      make_device();
    else
      link_.reset();  // it was to see that the disk is served
  } catch (...) {
    engine_.stop(engine_limit);
    throw;
  }
  log(disk_.title() + " is attached to " + disk_.uri);
}

void Supervisor::resume() {
  if (disk_.device) kernel_.emplace();
  engine_.start();
  // Whether the link is alive can't be known; if it is, the kernel does not take another.
  link_lost_ = true;
  next_try_ = Clock::now();
  log("a new supervisor looks after " + disk_.title());
}

void Supervisor::detach_by_force() {
  if (disk_.device) kernel_.emplace();
  engine_.adopt();
  tear_down(true);
}

void Supervisor::lose_link(const std::string& why) {
  if (link_lost_) return;
  log(why);
  link_lost_ = true;
  next_try_ = Clock::now();
}

void Supervisor::offer_link() {
  kernel_->reconfigure(*disk_.device, link_->socket.get(), disk_.backend());
}

// The kernel's word of a dead link may be late, or get lost when memory is short.
bool Supervisor::has_hung_up() const {
  pollfd link{link_ ? link_->socket.get() : -1, 0, 0};
  return ::poll(&link, 1, 0) > 0;
}

void Supervisor::reconnect() {
  try {
    if (!engine_.is_running()) engine_.start();
    NbdHandshake link = shake_hands_with_engine();
    if (disk_.device) {
      link_ = std::move(link);
      offer_link();
      // Ignored, if the kernel had not seen yet that the old one is dead.
      offer_again_ = Clock::now() + between_offers;
    }
    link_lost_ = false;
    last_failure_.clear();
    log(disk_.title() + " is served again");
  } catch (const Error& error) {
    // Once, not ten times a second.
    if (last_failure_ != error.what()) log(error.what());
    last_failure_ = error.what();
    next_try_ = Clock::now() + between_tries;
  }
}

int Supervisor::timeout_ms() const {
  if (!link_lost_ && !offer_again_) return -1;
  const auto next = link_lost_ ? next_try_ : *offer_again_;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

void Supervisor::run() {
  while (!detached_) {
    if (link_lost_ && Clock::now() >= next_try_) reconnect();
    if (!link_lost_ && offer_again_ && Clock::now() >= *offer_again_) {
      offer_again_.reset();
      try {
        offer_link();
      } catch (const Error& error) {
        log(error.what());
      }
    }
    std::array<pollfd, 4> events{{{signals_.get(), POLLIN, 0},
                                  {link_lost_ ? -1 : engine_.descriptor(), POLLIN, 0},
                                  {kernel_ ? kernel_->link_descriptor() : -1, POLLIN, 0},
                                  {link_lost_ || !link_ ? -1 : link_->socket.get(), 0, 0}}};
    if (::poll(events.data(), events.size(), timeout_ms()) < 0) continue;
    if (events[1].revents != 0) lose_link("the engine has ended, and is started anew");
    if (events[2].revents != 0) {
      const auto dead = kernel_->dead_links();
      if (std::find(dead.begin(), dead.end(), *disk_.device) != dead.end()) {
        // It may mean the link before this one, which the kernel takes now if it has none.
        if (!link_ || has_hung_up())
          lose_link("the connection to the engine was lost");
        else
          offer_again_ = Clock::now();
      }
    }
    if (events[3].revents != 0) lose_link("the connection to the engine was lost");
    if (events[0].revents != 0) handle_signal();
  }
}

void Supervisor::handle_signal() {
  signalfd_siginfo signal{};
  if (::read(signals_.get(), &signal, sizeof signal) != sizeof signal) return;
  try_to_detach(signal.ssi_signo == SIGUSR1);
}

void Supervisor::try_to_detach(bool force) {
  try {
    tear_down(force);
    detached_ = true;
  } catch (const std::exception& error) {
    log(disk_.title() + " stays attached: " + error.what());
    std::ofstream(disk_.refusal(), std::ios::trunc) << error.what() << "\n";
  }
}

void Supervisor::tear_down(bool force) {
  if (disk_.device) {
    const NbdDevice device(*disk_.device);
    UniqueFd claimed = force ? UniqueFd() : claim(device);
    if (!force && !claimed) device.throw_in_use(device.uses());
    // Else the kernel would wait for an engine that may be waiting itself.
    if (force) engine_.stop(std::chrono::milliseconds(0));
    if (link_ && force) ::shutdown(link_->socket.get(), SHUT_RDWR);
    kernel_->disconnect(*disk_.device);
    claimed.reset();
    device.drop_partitions();
  }
  end_session(force);
  engine_.stop(force ? std::chrono::milliseconds(0) : engine_limit);
  log(disk_.title() + " is detached");
  remove_disk_folder(disk_);
}

// By its engine, which tells the server. False if there is none that answers.
bool Supervisor::engine_ends_session() {
  // One that has just been started does not listen yet.
  for (auto waited = between_tries * 0; engine_.is_running() && waited < engine_limit;
       waited += between_tries) {
    if (auto client = ControlClient::connect(disk_.store)) {
      attempt_to_end([&] { client->call("session.end", {{"session", disk_.session()}}); });
      return client->is_in_order();
    }
    std::this_thread::sleep_for(between_tries);
  }
  return false;
}

void Supervisor::attempt_to_end(const std::function<void()>& end) const {
  try {
    end();
  } catch (const Error& error) {
    // One that wrote nothing is not known.
    if (error.code() != ENOENT) log(std::string("the session was not ended: ") + error.what());
  }
}

// What is volatile goes, what is persistent waits for the next time.
void Supervisor::end_session(bool force) {
  bool is_ended = false;
  attempt_to_end([&] { is_ended = !force && engine_ends_session(); });
  if (is_ended) return;
  attempt_to_end([this] {
    engine_.stop(std::chrono::milliseconds(0));
    Store::open(disk_.store, {.memory = disk_.memory(), .keeps_files = disk_.keeps_files})
        ->end_session(disk_.session(), false);
  });
  // As an engine does, whether the station's store knows the session or not.
  if (!force && !disk_.control.empty())
    attempt_to_end([this] { ServerLink(disk_.control).end_session(); });
}

}  // namespace plydisk
