#include "attach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "backing/nbd_backing.hpp"
#include "base/error.hpp"
#include "base/uuid.hpp"
#include "control/server_link.hpp"
#include "kernel_nbd.hpp"
#include "nbd_device.hpp"
#include "store/names.hpp"
#include "store/store.hpp"
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

// A name for the folder of this server's disk, which is the same each time.
std::string store_name(const AttachedDisk& disk) {
  std::string name;
  const auto scheme = disk.uri.find("://");
  for (const char c : disk.uri.substr(scheme + 3))
    name += std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '_';
  return name + "@" + disk.station;
}

unsigned free_device() {
  KernelNbd kernel;
  for (const auto& device : kernel.status())
    if (!device.is_taken && !find_disk(NbdDevice(device.index).name())) return device.index;
  throw Error(EBUSY,
              "all devices of the kernel's NBD driver are in use; it makes more with: "
              "modprobe -r nbd && modprobe nbd nbds_max=64");
}

AttachedDisk make_record(const AttachOptions& options) {
  if (!is_nbd_uri(options.uri))
    throw Error(EINVAL, quote(options.uri) +
                            " is not an NBD URI, such as nbd://server/image or "
                            "nbd+unix:///image?socket=/run/server.sock");
  AttachedDisk disk;
  disk.uri = options.uri;
  disk.station = options.station.empty() ? host_name() : options.station;
  require_valid_name("station", disk.station);
  disk.read_only = options.read_only;
  disk.connections = options.connections;
  disk.patience = options.patience;
  disk.keeps_files = !options.folder.empty();
  if (options.socket.empty()) {
    disk.device = options.device ? *options.device : free_device();
    disk.name = NbdDevice(*disk.device).name();
    disk.socket = disk.folder() / "engine.sock";
  } else {
    disk.socket = std::filesystem::absolute(options.socket).lexically_normal();
    disk.name = disk_name(options.socket);
  }
  disk.store = disk.keeps_files ? std::filesystem::absolute(options.folder) / store_name(disk)
                                : disk.folder() / "store";
  return disk;
}

// What lies at the bottom of the disk.
struct Origin {
  std::string uri;
  std::string uuid;  // of a plydisk server's image
  std::string plan;
};

// Asks the server what it has for this station, and writes that into the disk's record.
Origin greet_server(AttachedDisk& disk, const AttachOptions& options) {
  Origin origin{options.uri, "", options.writes.empty() ? "client-ram" : options.writes};
  const std::string name = export_of(options.uri);
  const std::string image = name.substr(0, name.find_first_of(":@"));
  disk.image = is_valid_name(image) ? image : "disk";
  std::string token = boot_id();
  std::erase(token, '-');
  const std::string control = control_uri(options.uri, disk.station, token);
  std::optional<unsigned> version;
  if (const auto colon = name.find(':'); colon != std::string::npos)
    version = parse_export_name(name).version;
  if (const auto greeting = ServerLink(control, image).hello(version)) {
    disk.image = greeting->at("image").get<std::string>();
    disk.token = token;
    disk.control = control;
    origin.uri = with_export(
        options.uri, disk.image + ":" + greeting->at("version").dump() + "@" + disk.station);
    origin.uuid = greeting->at("uuid").get<std::string>();
    if (options.writes.empty()) origin.plan = greeting->at("writes").get<std::string>();
  }
  disk.writes = with_memory_limit(origin.plan);
  return origin;
}

// Layers of an earlier attachment are only good on the version of the image on which they were
// made.
void reuse_store(Store& store, const ImageRecord& known, const AttachedDisk& disk,
                 const Origin& origin, const AttachOptions& options, std::uint64_t size) {
  const bool is_same = known.uuid == (origin.uuid.empty() ? known.uuid : origin.uuid) &&
                       known.backing == origin.uri && known.size == size;
  if (is_same) return;
  if (const auto session = store.catalogue().session_of(disk.station, disk.image)) {
    const bool is_other_image = !origin.uuid.empty() && known.uuid != origin.uuid;
    if (options.keep_version && !is_other_image) return;
    if (!options.discard)
      throw Error(EUCLEAN,
                  "the persistent layers in " + disk.store.string() + " lie on " + known.backing +
                      ", and the server has " + origin.uri + " now" +
                      (is_other_image ? ", of another image; drop the layers with --discard"
                                      : "; drop the layers with --discard, or stay with what they "
                                        "lie on with --keep-version"));
    store.end_session(session->id, true);
  }
  store.catalogue().change_image(disk.image, [&](ImageRecord& image) {
    if (!origin.uuid.empty()) image.uuid = origin.uuid;
    image.backing = origin.uri;
    image.size = size;
    image.backing_size = size;
  });
}

// Makes the station's store, or finds it in order.
void prepare_store(const AttachedDisk& disk, const Origin& origin, const AttachOptions& given) {
  if (!std::filesystem::exists(disk.store / "catalogue.sqlite"))
    Store::init(disk.store, StoreRole::station);
  StoreOptions options;
  options.memory = disk.memory();
  options.keeps_files = disk.keeps_files;
  options.nbd.session = disk.token;
  const auto store = Store::open(disk.store, options);
  Catalogue& catalogue = store->catalogue();
  if (const auto known = catalogue.find_image(disk.image)) {
    const std::uint64_t size = open_nbd_backing(origin.uri, options.nbd)->size();
    reuse_store(*store, *known, disk, origin, given, size);
  } else {
    Store::NewImage image;
    image.name = disk.image;
    image.uuid = origin.uuid;
    image.from = origin.uri;
    image.link = true;
    store->create_image(image, {});
  }
  if (!catalogue.find_station(disk.station)) {
    StationRecord station;
    station.name = disk.station;
    catalogue.add_station(station);
  }
  catalogue.change_station(
      disk.station, [&](StationRecord& station) { station.writes = WritePlan(disk.writes); });
}

void supervise(const AttachedDisk& disk, bool resume, const std::function<void()>& ready) {
  Supervisor supervisor(disk);
  resume ? supervisor.resume() : supervisor.begin();
  ready();
  supervisor.run();
}

int supervised = 0;  // by the guardian: the supervisor's process

void pass_on(int signal) {
  if (supervised > 0) ::kill(supervised, signal);
}

void leave_terminal() {
  ::setsid();
  if (::chdir("/") != 0) ::_exit(1);
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) ::dup2(null, fd);
}

// In a process of its own: has a supervisor, and another one whenever that is killed.
[[noreturn]] void guard(const AttachedDisk& disk, const SupervisorLock& lock, bool resume,
                        UniqueFd report) {
  leave_terminal();
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) ::signal(signal, pass_on);
  while (true) {
    supervised = ::fork();
    if (supervised < 0) ::_exit(1);
    if (supervised == 0) {
      try {
        lock.note_pid();
        supervise(disk, resume, [&] {
          const std::string text = "{}";
          if (report && ::write(report.get(), text.data(), text.size()) > 0) report.reset();
        });
        ::_exit(0);
      } catch (const Error& error) {
        const std::string text = json{{"errno", error.code()}, {"message", error.what()}}.dump(
            -1, ' ', false, json::error_handler_t::replace);
        if (report && ::write(report.get(), text.data(), text.size()) > 0) report.reset();
        ::_exit(1);
      }
    }
    report.reset();
    int status = 0;
    while (::waitpid(supervised, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
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

[[noreturn]] void already_attached(const AttachedDisk& disk) {
  throw Error(EBUSY, disk.title() + " is attached to " + disk.uri +
                         " already; detach it first with: plydisk detach " + disk.title());
}

}  // namespace

std::string with_memory_limit(const std::string& text) {
  const WritePlan plan(text);
  const auto* const memory = plan.find(Destination::client_ram);
  if (memory == nullptr || memory->limit) return to_string(plan);
  struct sysinfo info {};
  ::sysinfo(&info);
  const std::uint64_t half = std::uint64_t{info.totalram} * info.mem_unit / 2;
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
  AttachedDisk disk = make_record(options);
  if (const auto known = find_disk(disk.title())) {
    const auto lock = SupervisorLock::take(*known);
    if (!lock || known->uri != disk.uri) already_attached(*known);
    start(*known, *lock, true, options.foreground, ready);
    return *known;
  }
  for (const auto& other : attached_disks())
    if (other.uri == disk.uri && other.station == disk.station) already_attached(other);
  const Origin origin = greet_server(disk, options);
  std::filesystem::create_directories(run_folder());
  std::filesystem::create_directory(disk.folder());
  std::filesystem::permissions(disk.folder(), std::filesystem::perms::owner_all);
  const auto lock = SupervisorLock::take(disk);
  if (!lock) already_attached(disk);
  try {
    mount_memory(disk);
    prepare_store(disk, origin, options);
    disk.save();
    start(disk, *lock, false, options.foreground, ready);
  } catch (...) {
    remove_disk_folder(disk);
    throw;
  }
  return disk;
}

void detach(const AttachedDisk& disk, bool force) {
  if (disk.device && !force) {
    const NbdDevice device(*disk.device);
    std::string uses;
    for (const auto& use : device.uses()) uses += (uses.empty() ? "" : ", ") + use;
    if (!uses.empty()) throw Error(EBUSY, device.path() + " is in use: " + uses);
    device.flush();
  }
  std::error_code ignored;
  std::filesystem::remove(disk.refusal(), ignored);
  const int pid = SupervisorLock::holder(disk);
  if (pid == 0) {
    const auto lock = SupervisorLock::take(disk);
    if (!lock) already_attached(disk);
    return Supervisor(disk).detach(force);
  }
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process || ::kill(pid, force ? SIGUSR1 : SIGTERM) != 0)
    throw_errno("cannot reach the supervisor of " + disk.title() + ", process " +
                std::to_string(pid));
  pollfd ended{process.get(), POLLIN, 0};
  while (::poll(&ended, 1, 50) == 0)
    if (std::filesystem::exists(disk.refusal())) throw Error(EBUSY, read_text_file(disk.refusal()));
}

}  // namespace plydisk
