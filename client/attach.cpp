#include "attach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/memory.hpp"
#include "base/uuid.hpp"
#include "control/client.hpp"
#include "control/server_link.hpp"
#include "kernel_nbd.hpp"
#include "nbd_device.hpp"
#include "output.hpp"
#include "station_store.hpp"
#include "store/names.hpp"
#include "supervisor.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

std::string host_name() {
  std::array<char, 256> text{};
  ::gethostname(text.data(), text.size() - 1);
  const std::string name = text.data();
  return name.substr(0, name.find('.'));
}

// A name for the folder of this disk, which is the same each time: with TLS as without.
std::string store_name(const std::string& source, const std::string& station) {
  std::string name;
  for (const char c : is_nbd_uri(source) ? source.substr(source.find("://") + 3) : source)
    name += std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '_';
  return name + "@" + station;
}

unsigned free_device(const std::set<unsigned>& skipped) {
  KernelNbd kernel;
  for (const auto& device : kernel.status())
    if (!device.is_taken && !skipped.contains(device.index) &&
        !find_disk(NbdDevice(device.index).name()))
      return device.index;
  throw Error(EBUSY,
              "all devices of the kernel's NBD driver are in use; it makes more with: "
              "modprobe -r nbd && modprobe nbd nbds_max=64");
}

// Files by their whole names, since the engine works in another folder.
TlsOptions complete(TlsOptions tls, const std::string& station) {
  for (std::string* const path : {&tls.certificates, &tls.psk}) {
    if (path->empty()) continue;
    *path = std::filesystem::absolute(*path).lexically_normal();
    if (::access(path->c_str(), R_OK) != 0) throw_errno("cannot read " + *path);
  }
  if (tls.user.empty()) tls.user = station;
  return tls;
}

// By the whole name, since the engine works in another folder.
std::string file_to_attach(const AttachOptions& options) {
  std::error_code error;
  const auto path = std::filesystem::canonical(options.uri, error);
  if (error || !(std::filesystem::is_regular_file(path) || std::filesystem::is_block_file(path)))
    throw Error(EINVAL, quote(options.uri) +
                            " is neither a file or block device nor an NBD URI, such as "
                            "nbd://server/image or nbd+unix:///image?socket=/run/server.sock");
  if (options.tls.is_set() || !options.secret_file.empty())
    throw Error(EINVAL, path.string() + " is on this machine: a secret and TLS are for servers");
  return path;
}

AttachedDisk make_record(const AttachOptions& options, const std::set<unsigned>& skipped) {
  AttachedDisk disk;
  const bool is_file = !is_nbd_uri(options.uri);
  const std::string name = is_file ? "" : export_of(options.uri);
  const std::string in_uri =
      name.find('@') == std::string::npos ? "" : name.substr(name.find('@') + 1);
  if (!options.station.empty()) require_valid_name("station", options.station);
  if (!in_uri.empty() && !options.station.empty() && in_uri != options.station)
    throw Error(EINVAL, "the URI is for station " + quote(in_uri) + ", and not for " +
                            quote(options.station));
  disk.station = !options.station.empty() ? options.station
                 : !in_uri.empty()        ? in_uri
                                          : host_name();
  require_valid_name("station", disk.station);
  disk.uri = is_file ? file_to_attach(options)
                     : with_tls(options.uri, complete(options.tls, disk.station));
  disk.read_only = options.read_only;
  disk.multicast = options.multicast;
  disk.connections = options.connections;
  disk.patience = options.patience;
  disk.keeps_files = !options.folder.empty();
  if (options.socket.empty()) {
    disk.device = options.device ? *options.device : free_device(skipped);
    disk.name = NbdDevice(*disk.device).name();
    disk.socket = disk.folder() / "engine.sock";
  } else {
    disk.socket = std::filesystem::absolute(options.socket).lexically_normal();
    disk.name = disk_name(options.socket);
  }
  disk.store = disk.keeps_files ? std::filesystem::absolute(options.folder) /
                                      store_name(is_file ? disk.uri : options.uri, disk.station)
                                : disk.folder() / "store";
  return disk;
}

[[noreturn]] void already_attached(const AttachedDisk& disk) {
  throw Error(EBUSY, disk.title() + " is attached to " + disk.uri +
                         " already; detach it first with: plydisk detach " + disk.title());
}

// Whether it would be the same session at the server.
bool is_same(const AttachedDisk& a, const AttachedDisk& b) {
  return a.station == b.station && (a.uri == b.uri || (!a.uuid.empty() && a.uuid == b.uuid));
}

void require_not_attached(const AttachedDisk& disk) {
  for (const auto& other : attached_disks())
    if (is_same(other, disk)) already_attached(other);
}

// Held while a disk is made, against another attach of the same: a name of the kernel's, which goes
// with its holder.
class Claim {
 public:
  explicit Claim(const AttachedDisk& disk)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::string what = disk.uuid.empty() ? disk.uri : disk.uuid;
    const std::size_t key =
        std::hash<std::string>{}(run_folder().string() + "\n" + what + "\n" + disk.station);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "plydisk-attach-" + std::to_string(key);
    name.copy(address.sun_path + 1, sizeof address.sun_path - 2);  // behind a NUL: no file
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) return;
    if (errno != EADDRINUSE) throw_errno("cannot claim " + disk.title());
    throw Error(EBUSY, "another command attaches this disk of station " + quote(disk.station) +
                           " at this moment");
  }

 private:
  UniqueFd socket_;
};

// Only a socket that a server has left behind may be in the way of the disk's own.
void require_free(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (!std::filesystem::exists(status)) return;
  if (std::filesystem::is_socket(status)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno == ECONNREFUSED)
      return;
    throw Error(EADDRINUSE, "another server listens on " + path.string() + ": name another path");
  }
  throw Error(EEXIST, path.string() + " is there already, and no socket: name another path");
}

// The server has begun a session for a disk that has not come about. One in which something was
// written, as by the machine's firmware, waits for the next attempt.
void leave_server(const AttachedDisk& disk) noexcept {
  if (disk.control.empty()) return;
  try {
    ServerLink server(disk.control);
    if (!server.session_state().has_volatile) server.end_session();
  } catch (const std::exception&) {
    // It knows none, or ends it by itself in time.
  }
}

void supervise(const AttachedDisk& disk, bool resume, const std::function<void()>& ready) {
  Supervisor supervisor(disk);
  resume ? supervisor.resume() : supervisor.begin();
  ready();
  supervisor.run();
}

constexpr int looks_before_kill = 40;  // two seconds

int supervised = 0;  // by the guardian: the supervisor's process

void pass_on(int signal) {
  if (supervised > 0) ::kill(supervised, signal);
}

// What the caller has open is not to stay open with the disk.
void leave_caller(int lock, int report) {
  ::setsid();
  if (::chdir("/") != 0) ::_exit(1);
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) ::dup2(null, fd);
  const int low = std::min(lock, report), high = std::max(lock, report);
  const auto close_between = [](int after, int before) {
    if (after + 1 < before)
      ::close_range(static_cast<unsigned>(after + 1), static_cast<unsigned>(before - 1), 0);
  };
  close_between(2, low);
  close_between(low, high);
  ::close_range(static_cast<unsigned>(high + 1), ~0U, 0);
}

// The guardian's child; `report` is open as long as nothing was reported.
[[noreturn]] void be_supervisor(const AttachedDisk& disk, const SupervisorLock& lock, bool resume,
                                UniqueFd& report, std::atomic<bool>& is_ready) {
  const auto tell = [&report](const json& text) {
    const std::string line = text.dump(-1, ' ', false, json::error_handler_t::replace);
    if (report && ::write(report.get(), line.data(), line.size()) > 0) report.reset();
  };
  try {
    lock.note_pid();
    supervise(disk, resume, [&] {
      is_ready = true;
      tell(json::object());
    });
    ::_exit(0);
  } catch (const Error& error) {
    tell({{"errno", error.code()}, {"message", error.what()}});
  } catch (const std::exception& error) {
    tell({{"errno", EIO}, {"message", error.what()}});
  }
  ::_exit(1);
}

// In a process of its own: has a supervisor, and another one whenever that has ended without the
// disk.
[[noreturn]] void guard(const AttachedDisk& disk, const SupervisorLock& lock, bool resume,
                        UniqueFd report) {
  leave_caller(lock.descriptor(), report.get());
  survive_memory_shortage();
  void* const shared = ::mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) ::_exit(1);
  auto& is_ready = *new (shared) std::atomic<bool>(false);
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    ::signal(signal, pass_on);
    sigaddset(&handled, signal);
  }
  while (true) {
    // None gets lost before the child waits for them.
    ::sigprocmask(SIG_BLOCK, &handled, nullptr);
    supervised = ::fork();
    if (supervised == 0) be_supervisor(disk, lock, resume, report, is_ready);
    ::sigprocmask(SIG_UNBLOCK, &handled, nullptr);
    report.reset();
    int status = W_EXITCODE(1, 0);
    if (supervised > 0)
      while (::waitpid(supervised, &status, 0) < 0 && errno == EINTR) {
      }
    supervised = 0;
    if (status == 0 || !is_ready) ::_exit(status == 0 ? 0 : 1);
    // What fails at once may do so again; being killed may not.
    if (WIFEXITED(status)) ::sleep(1);
    resume = true;
  }
}

void start_in_background(const AttachedDisk& disk, const SupervisorLock& lock, bool resume) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("cannot make a pipe");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const int guardian = ::fork();
  if (guardian < 0) throw_errno("cannot start the disk's supervisor");
  if (guardian == 0) guard(disk, lock, resume, std::move(writer));
  writer.reset();
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(got));
  const json report = json::parse(text, nullptr, false);
  if (report.is_object() && report.empty()) return;
  ::waitpid(guardian, nullptr, 0);
  if (!report.is_object()) throw Error(ECHILD, "the disk's supervisor has ended unexpectedly");
  throw Error(report["errno"].get<int>(), report["message"].get<std::string>());
}

void start(const AttachedDisk& disk, const SupervisorLock& lock, bool resume, bool foreground,
           const std::function<void(const AttachedDisk&)>& ready) {
  if (foreground) {
    lock.note_pid();
    return supervise(disk, resume, [&] { ready(disk); });
  }
  start_in_background(disk, lock, resume);
  ready(disk);
}

// Says why a detach takes long, when it has been for a while: once, beside the one who waits.
class Notice {
 public:
  explicit Notice(const AttachedDisk& disk)
      : thread_([this, &disk] {
          std::unique_lock lock(mutex_);
          while (!ended_.wait_for(lock, patience, [this] { return is_over_; })) {
            lock.unlock();
            const std::string trouble = trouble_of(disk);
            lock.lock();
            if (trouble.empty() || is_over_) continue;
            std::cerr << "plydisk: waiting for the server of "
                      << printable(std::string_view(disk.title()))
                      << ", which may lack some of what was written ("
                      << printable(std::string_view(trouble))
                      << "); \"plydisk detach --force\" gives up\n";
            return;
          }
        }) {}
  ~Notice() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }

 private:
  static constexpr auto patience = std::chrono::seconds(2);
  static std::string trouble_of(const AttachedDisk& disk) {
    try {
      auto engine = ControlClient::connect(disk.store);
      if (!engine) return {};
      const json session = engine->call("session.show", {{"session", disk.session()}});
      return session["trouble"].is_string() ? session["trouble"].get<std::string>() : "";
    } catch (const std::exception&) {
      return {};  // it may have ended at this moment
    }
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_over_ = false;
  std::thread thread_;  // the last: it uses the others
};

UniqueFd open_supervisor(const AttachedDisk& disk) {
  // The number is that of one that was killed, until the next one has noted its own.
  for (int tries = 100;; --tries) {
    if (const int pid = SupervisorLock::holder(disk); pid > 0) {
      UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      pollfd ended{process.get(), POLLIN, 0};
      if (process && ::poll(&ended, 1, 0) == 0) return process;
    }
    if (tries == 0) throw Error(ESRCH, "cannot reach the supervisor of " + disk.title());
    ::usleep(50'000);
  }
}

}  // namespace

std::string with_memory_limit(const std::string& text) {
  const WritePlan plan(text);
  const auto* const memory = plan.find(Destination::client_ram);
  if (memory == nullptr || memory->limit) return to_string(plan);
  const std::uint64_t half = memory_of_machine() / 2;
  std::string sized;
  for (const auto& step : plan.steps()) {
    sized += (sized.empty() ? "" : ",") + std::string(to_string(step.destination));
    if (&step == memory)
      sized += ":" + std::to_string(half);
    else if (step.limit)
      sized += ":" + std::to_string(*step.limit);
  }
  return to_string(WritePlan(sized));
}

AttachedDisk attach(const AttachOptions& options,
                    const std::function<void(const AttachedDisk&)>& ready) {
  // Devices that other commands take at this moment.
  std::set<unsigned> skipped;
  while (true) {
    AttachedDisk disk = make_record(options, skipped);
    const bool may_be_another = disk.device && !options.device;
    const auto known = find_disk(disk.title());
    Origin origin;
    std::optional<Claim> claim;
    if (!known) {
      require_not_attached(disk);
      origin = greet_server(disk, options);
      claim.emplace(disk);
      require_not_attached(disk);  // by another URI, or meanwhile
      if (!disk.device) require_free(disk.socket);
      std::filesystem::create_directories(run_folder());
      std::filesystem::create_directory(disk.folder());
      std::filesystem::permissions(disk.folder(), std::filesystem::perms::owner_all);
    }
    const auto lock = SupervisorLock::take(disk);
    if (may_be_another && (known || !lock)) {
      skipped.insert(*disk.device);
      continue;
    }
    if (!lock || (known && known->uri != disk.uri)) already_attached(known ? *known : disk);
    if (known) {
      start(*known, *lock, true, options.foreground, ready);
      return *known;
    }
    bool is_there = false;
    try {
      mount_memory(disk);
      prepare_store(disk, origin, options);
      disk.save();
      claim.reset();  // what is started must not have it
      start(disk, *lock, false, options.foreground, [&](const AttachedDisk& attached) {
        is_there = true;
        ready(attached);
      });
    } catch (...) {
      // What a disk that was used needs is left for the next attach, which goes on with it.
      if (!is_there) {
        abandon_disk(disk);
        leave_server(disk);
      }
      throw;
    }
    return disk;
  }
}

void detach(const AttachedDisk& disk, bool force) {
  if (disk.device && !force) {
    const NbdDevice device(*disk.device);
    if (const auto uses = device.uses(); !uses.empty()) device.throw_in_use(uses);
  }
  if (SupervisorLock::holder(disk) == 0) {
    const auto lock = SupervisorLock::take(disk);
    if (!lock) already_attached(disk);
    if (force) return Supervisor(disk).detach_by_force();
    // What is to be flushed needs an engine.
    start_in_background(disk, *lock, true);
  }
  std::optional<Notice> notice;
  if (!force) notice.emplace(disk);
  if (disk.device && !force) NbdDevice(*disk.device).flush();
  std::error_code ignored;
  std::filesystem::remove(disk.refusal(), ignored);
  const UniqueFd process = open_supervisor(disk);
  if (::syscall(SYS_pidfd_send_signal, process.get(), force ? SIGUSR1 : SIGTERM, nullptr, 0) != 0)
    throw_errno("cannot reach the supervisor of " + disk.title());
  pollfd ended{process.get(), POLLIN, 0};
  for (int looks = 0; ::poll(&ended, 1, 50) == 0; ++looks) {
    if (std::filesystem::exists(disk.refusal())) throw Error(EBUSY, read_text_file(disk.refusal()));
    // The supervisor may be at an earlier try, and wait for an engine that waits for its server.
    Engine engine(disk);
    if (force && looks == looks_before_kill && engine.adopt())
      engine.stop(std::chrono::milliseconds(0));
  }
  if (find_disk(disk.title()))
    throw Error(EINTR, "the supervisor of " + disk.title() + " was killed meanwhile: try again");
}

}  // namespace plydisk
