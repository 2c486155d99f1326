// Runs in a guest: the kernel's NBD disks, by KernelNbd and NbdDevice, with servers that are
// killed.
//
//   kernel-device SCENARIO [SECONDS]
//
// SECONDS are for `restart`: how long requests may wait for a server, instead of a year. With 0 it
// must fail. The first thing that is not as it must be ends the program.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "disk_load.hpp"
#include "kernel_nbd.hpp"
#include "local_server.hpp"
#include "nbd_device.hpp"

namespace plydisk::test {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t disk_size = 48 << 20;

// A disk whose server is dead keeps its users, and so this process, for ever: it is taken away
// first. No destructor is run.
[[noreturn]] void fail(const std::string& what) {
  std::cout << "FAILED: " << what << std::endl;
  try {
    KernelNbd kernel;
    for (const auto& device : kernel.status())
      if (device.is_taken) kernel.disconnect(device.index);
  } catch (const Error& error) {
    std::cout << error.what() << std::endl;
  }
  ::_exit(1);
}

void expect(bool condition, const std::string& what) {
  if (!condition) fail(what);
}

template <typename Fn>
void expect_error(int code, const std::string& mention, Fn&& run) {
  try {
    run();
  } catch (const Error& error) {
    expect(error.code() == code, std::string("another error: ") + error.what());
    expect(std::string(error.what()).find(mention) != std::string::npos,
           "\"" + mention + "\" is not in: " + error.what());
    return;
  }
  fail("no error that mentions \"" + mention + '"');
}

template <typename Fn>
void wait_until(const std::string& what, Fn&& is_so) {
  for (int tries = 600; !is_so(); --tries) {
    expect(tries > 0, "it does not happen that " + what);
    std::this_thread::sleep_for(100ms);
  }
}

std::string read(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// Of zeros, in memory: it outlives the servers that serve it.
std::string make_file(const std::string& name) {
  std::string path = "/run/" + name + ".disk";
  std::ofstream(path).close();
  fs::resize_file(path, disk_size);
  return path;
}

class FileServer : public LocalServer {
 public:
  explicit FileServer(const std::string& name) : LocalServer(name, {"file", make_file(name)}) {}
};

// A disk of the kernel's, and the server behind it.
class Disk {
 public:
  Disk(KernelNbd& kernel, const LocalServer& server, std::string backend,
       std::optional<unsigned> index = {}, std::chrono::seconds limit = KernelNbd::one_year)
      : kernel_(kernel), backend_(std::move(backend)), link_(server.connect()) {
    device_ = std::make_unique<NbdDevice>(
        kernel_.connect(index, {link_.socket.get(), link_.size, link_.flags, backend_, limit}));
    device_->set_queue_limits();
  }
  const NbdDevice& device() const { return *device_; }
  const NbdHandshake& link() const { return link_; }
  void reconnect(const LocalServer& server) {
    link_ = server.connect();
    kernel_.reconfigure(device_->index(), link_.socket.get(), backend_);
  }
  void disconnect() {
    kernel_.disconnect(device_->index());
    link_.socket.reset();
  }

 private:
  KernelNbd& kernel_;
  std::string backend_;
  NbdHandshake link_;
  std::unique_ptr<NbdDevice> device_;
};

bool is_taken(KernelNbd& kernel, unsigned index) {
  for (const auto& device : kernel.status())
    if (device.index == index) return device.is_taken;
  fail("no status of nbd" + std::to_string(index));
}

// The kernel ends a dead link at our end too: so our copy tells which link is meant by a late word.
bool is_dead(const NbdHandshake& link) {
  pollfd fd{link.socket.get(), 0, 0};
  return ::poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP) != 0;
}

std::vector<unsigned> wait_for_dead_links(KernelNbd& kernel) {
  pollfd fd{kernel.link_descriptor(), POLLIN, 0};
  expect(::poll(&fd, 1, 60'000) == 1, "no word of a dead link");
  return kernel.dead_links();
}

void expect_nothing_left(KernelNbd& kernel, const NbdDevice& device) {
  const std::string name = device.name();
  expect(!device.is_connected(), name + " is still connected");
  expect(!device.backend(), name + " still has a backend");
  expect(!is_taken(kernel, device.index()), name + " is still taken");
  expect(device.size_bytes() == 0, name + " still has a size");
  expect(device.partitions().empty(), name + " still has partitions");
  expect(device.uses().empty(), name + " is still in use");
  expect(kernel.dead_links().empty(), "a disconnection is told of as a dead link");
}

// Kernel threads that receive for a disk; with `stuck`, the ones in uninterruptible sleep.
std::size_t kernel_threads(bool stuck) {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    // "12 (kworker/u4:1+nbd0-recv) S 2 …"; a "-" for the "+" is a thread that only did so last.
    const std::string status = read(entry.path() / "stat");
    const auto end = status.rfind(") ");
    if (end == status.npos) continue;
    if (stuck ? status[end + 2] == 'D' : status.find("+nbd") < end) ++count;
  }
  return count;
}

// From the server: not what a page cache may have.
void read_block(const NbdDevice& device) {
  alignas(4096) std::array<char, 4096> block;
  File::open(device.path(), O_RDONLY | O_DIRECT).read(block.data(), block.size(), 1 << 20);
}

// One partition over sectors 2048 to 10239.
void write_partition_table(const NbdDevice& device) {
  std::array<unsigned char, 512> sector{};
  const std::array<unsigned char, 16> entry{0, 0, 2, 0, 0x83, 0, 2, 0, 0, 8, 0, 0, 0, 32, 0, 0};
  std::copy(entry.begin(), entry.end(), sector.begin() + 446);
  sector[510] = 0x55;
  sector[511] = 0xaa;
  File::open(device.path(), O_WRONLY).write(sector.data(), sector.size(), 0);
}

// A file system at `partition`, mounted at /mnt/disk.
void mount_new(const std::string& partition) {
  expect(std::system(("mkfs.ext4 -q " + partition).c_str()) == 0, "mkfs.ext4 fails");
  fs::create_directories("/mnt/disk");
  expect(::mount(partition.c_str(), "/mnt/disk", "ext4", 0, nullptr) == 0, "cannot mount");
}

// In a process of its own; it must return.
void in_child(const std::function<void()>& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    run();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  expect(status == 0, "a child process");
}

void test_basic() {
  KernelNbd kernel;
  const LocalServer memory("memory", {"memory", std::to_string(disk_size)});
  const FileServer file("file");

  Disk disk(kernel, memory, "memory");
  const NbdDevice& device = disk.device();
  const fs::path queue = "/sys/block/" + device.name() + "/queue";
  expect(device.index() == 0, "not the first free device");
  expect(device.is_connected() && is_taken(kernel, 0), "it is not connected");
  expect(device.connected_by() == static_cast<unsigned>(::getpid()), "by another process");
  expect(device.size_bytes() == disk_size, "its size");
  expect(!device.is_read_only() && !disk.link().read_only, "it is read-only");
  expect(device.backend() == "memory", "its backend");
  expect(read(queue / "logical_block_size") == "512", "its block size");
  expect(read(queue / "io_timeout") == "2000", "the timer of its requests");
  expect(read(queue / "max_sectors_kb") == "1024", "the size of its requests");
  expect(read(queue / "write_cache") == "write back", "its cache");
  expect(read(queue / "fua") == "1", "its FUA");
  DiskLoad load(device.path(), disk_size);
  load.wait_for_progress(500, 60);
  load.stop_and_verify();

  Disk other(kernel, file, "file", 7);
  expect(other.device().index() == 7, "not the device that was named");
  write_partition_table(other.device());
  other.device().scan_partitions();
  expect(other.device().partitions() == std::vector<std::string>{"/dev/nbd7p1"}, "partitions");
  expect(fs::is_block_file("/dev/nbd7p1"), "no node for the partition");
  other.device().flush();
  const std::size_t served = file.open_descriptors();
  other.disconnect();
  expect_nothing_left(kernel, other.device());
  expect(!fs::exists("/dev/nbd7p1"), "the partition's node is left");
  wait_until("the server has no connection", [&] { return file.open_descriptors() < served; });
  disk.disconnect();
  expect_nothing_left(kernel, device);

  // What was on the disk before is found at once.
  Disk again(kernel, file, "file", 7);
  again.device().scan_partitions();
  expect(again.device().partitions().size() == 1, "no partition on a disk that has one");
  again.disconnect();

  // Once more, read-only.
  const LocalServer fixed("fixed", {"--readonly", "memory", "1M"});
  Disk read_only(kernel, fixed, "fixed");
  expect(read_only.device().is_read_only() && read_only.link().read_only, "it can be written to");
  read_only.disconnect();
}

void test_restart(std::chrono::seconds limit) {
  KernelNbd kernel;
  FileServer server("file");
  Disk disk(kernel, server, "file", {}, limit);
  DiskLoad load(disk.device().path(), disk_size);
  load.wait_for_progress(300, 60);
  for (int round = 0; round < 5; ++round) {
    server.kill();
    const auto killed = Clock::now();
    expect(wait_for_dead_links(kernel) == std::vector{disk.device().index()}, "another link");
    expect(is_dead(disk.link()), "a dead link looks alive");
    // The workers wait for answers that the dead server owes them. This is a request that it never
    // got; it is the one that fails if the kernel may not wait for another server.
    std::thread newcomer([&disk] { read_block(disk.device()); });
    std::this_thread::sleep_for(500ms);
    server.start();
    disk.reconnect(server);
    newcomer.join();
    expect(!is_dead(disk.link()), "the new link is dead");
    load.wait_for_progress(300, 120);
    std::cout
        << "killed: went on after "
        << std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - killed).count()
        << " ms" << std::endl;
  }
  // Of a link that is alive: nothing happens.
  const NbdHandshake unneeded = server.connect();
  kernel.reconfigure(disk.device().index(), unneeded.socket.get(), "file");
  load.wait_for_progress(300, 60);
  load.stop_and_verify();
  disk.disconnect();
  expect_nothing_left(kernel, disk.device());
}

// An orderly change to another server that stands by: the shortest time that the kernel gets to
// take note of a dead link. The old one must have ended before: what it still has under way would
// undo what the kernel writes by the new one. (It may well end by itself: nbdkit 1.32 can abort
// when a client leaves with requests under way.)
void test_change() {
  KernelNbd kernel;
  const auto path = make_file("file");
  LocalServer servers[] = {{"one", {"file", path}}, {"two", {"file", path}}};
  Disk disk(kernel, servers[0], "file");
  DiskLoad load(disk.device().path(), disk_size);
  for (unsigned round = 0; round < 10; ++round) {
    load.wait_for_progress(100, 120);
    servers[(round + 1) % 2].connect();
    expect(::shutdown(disk.link().socket.get(), SHUT_RDWR) == 0, "shutdown");
    wait_for_dead_links(kernel);
    servers[round % 2].kill();
    disk.reconnect(servers[(round + 1) % 2]);
    servers[round % 2].start();
  }
  load.wait_for_progress(100, 120);
  load.stop_and_verify();
  disk.disconnect();
}

// A disk outlives the process that connected it, too.
void test_heir() {
  FileServer server("file");
  in_child([&server] {
    KernelNbd kernel;
    const Disk disk(kernel, server, "file", 3);
  });
  KernelNbd kernel;
  const NbdDevice device(3);
  expect(device.is_connected() && is_taken(kernel, 3), "the disk went with its process");
  read_block(device);
  server.kill();
  expect(wait_for_dead_links(kernel) == std::vector{3U}, "another link");
  server.start();
  const NbdHandshake link = server.connect();
  kernel.reconfigure(3, link.socket.get(), "file");
  read_block(device);
  kernel.disconnect(3);
  expect_nothing_left(kernel, device);
}

void test_two() {
  KernelNbd kernel;
  FileServer a("a"), b("b");
  Disk disk_a(kernel, a, "a"), disk_b(kernel, b, "b");
  expect(disk_a.device().index() != disk_b.device().index(), "both are the same device");
  DiskLoad load_a(disk_a.device().path(), disk_size), load_b(disk_b.device().path(), disk_size);
  load_a.wait_for_progress(100, 60);
  load_b.wait_for_progress(100, 60);
  a.kill();
  expect(wait_for_dead_links(kernel) == std::vector{disk_a.device().index()}, "the wrong link");
  load_b.wait_for_progress(300, 60);
  a.start();
  disk_a.reconnect(a);
  load_a.wait_for_progress(100, 120);
  load_a.stop_and_verify();
  load_b.stop_and_verify();
  disk_a.disconnect();
  expect(disk_b.device().is_connected(), "the other is disconnected");
  disk_b.disconnect();
  expect_nothing_left(kernel, disk_a.device());
  expect_nothing_left(kernel, disk_b.device());
}

void test_busy() {
  KernelNbd kernel;
  const FileServer server("file");
  Disk disk(kernel, server, "debian@pc07");
  const NbdDevice& device = disk.device();
  const unsigned index = device.index();
  const NbdHandshake spare = server.connect();
  const KernelNbd::Disk second{spare.socket.get(), spare.size, spare.flags, "second"};
  expect_error(EBUSY, "debian@pc07", [&] { kernel.connect(index, second); });
  expect_error(EINVAL, "not of other@pc07",
               [&] { kernel.reconfigure(index, spare.socket.get(), "other@pc07"); });
  expect_error(EINVAL, "not connected",
               [&] { kernel.reconfigure(index + 1, spare.socket.get(), "debian@pc07"); });
  expect_error(ENODEV, "no /dev/nbd99", [&] { kernel.disconnect(99); });
  expect_error(EINVAL, "the kernel refuses it", [&] { kernel.connect(1 << 20, second); });
  expect_error(EINVAL, "whole sectors", [&] {
    kernel.connect({}, {spare.socket.get(), 1000, spare.flags, "odd"});
  });
  in_child([&] {
    expect(::seteuid(1000) == 0, "seteuid");
    KernelNbd unprivileged;
    expect_error(EPERM, "run it as root", [&] { unprivileged.connect({}, second); });
  });
  expect(device.uses().empty(), "it is used");

  write_partition_table(device);
  device.scan_partitions();
  const std::string partition = device.partitions().at(0);
  mount_new(partition);
  expect(device.uses() == std::vector{partition + " is mounted at /mnt/disk: unmount it"},
         "a mount is not seen");
  expect_error(EBUSY, "anew", [&] { device.scan_partitions(); });
  expect(::umount("/mnt/disk") == 0, "umount");

  {
    const File open = File::open(partition, O_RDONLY);
    const auto uses = device.uses();
    expect(uses.size() == 1 && uses[0] == "process " + std::to_string(::getpid()) +
                                              " (kernel-device) has " + partition + " open",
           "a process is not seen");
  }
  // A mount that only another namespace has.
  const std::string mounted = "/run/mounted", seen = "/run/seen";
  const pid_t container = ::fork();
  if (container == 0) {
    expect(::unshare(CLONE_NEWNS) == 0, "unshare");
    expect(::mount(partition.c_str(), "/mnt/disk", "ext4", 0, nullptr) == 0, "cannot mount");
    std::ofstream(mounted).close();
    while (!fs::exists(seen)) std::this_thread::sleep_for(50ms);
    ::_exit(0);
  }
  wait_until("a container mounts", [&] { return fs::exists(mounted); });
  const auto uses = device.uses();
  expect(uses.size() == 1 && uses[0].find("can't see it") != std::string::npos,
         "a mount of a container is not seen");
  std::ofstream(seen).close();
  ::waitpid(container, nullptr, 0);

  disk.disconnect();
  expect_nothing_left(kernel, device);
  const File open = File::open(device.path(), O_RDONLY);
  expect_error(EBUSY, "(kernel-device) has /dev/nbd", [&] { kernel.connect(index, second); });
}

void test_rounds() {
  KernelNbd kernel;
  const LocalServer server("memory", {"memory", std::to_string(disk_size)});
  const std::size_t threads = kernel_threads(false);
  std::size_t descriptors = 0, served = 0;
  const auto began = Clock::now();
  for (int round = 0; round <= 100; ++round) {
    Disk disk(kernel, server, "memory", 0);
    read_block(disk.device());
    expect(kernel_threads(false) == threads + 1, "the thread that receives is not seen");
    disk.disconnect();
    expect_nothing_left(kernel, disk.device());
    // The first round opens what is kept open.
    if (round == 0) descriptors = descriptors_of("self");
    if (round == 0) served = server.open_descriptors();
  }
  std::cout << "100 rounds in "
            << std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began).count()
            << " s" << std::endl;
  expect(descriptors_of("self") == descriptors, "descriptors are left open");
  wait_until("the server has no connection", [&] { return server.open_descriptors() <= served; });
  wait_until("no kernel thread receives", [&] { return kernel_threads(false) == threads; });
  wait_until("no kernel thread is stuck", [] { return kernel_threads(true) == 0; });
}

[[noreturn]] void on_uncaught() {
  try {
    std::rethrow_exception(std::current_exception());
  } catch (const std::exception& error) {
    fail(error.what());
  } catch (...) {
    fail("an unknown exception");
  }
}

}  // namespace

}  // namespace plydisk::test

int main(int count, char** arguments) {
  using namespace plydisk::test;
  std::set_terminate(on_uncaught);
  const std::string scenario = count > 1 ? arguments[1] : "";
  const auto limit =
      count > 2 ? std::chrono::seconds(std::atoi(arguments[2])) : plydisk::KernelNbd::one_year;
  const std::map<std::string, std::function<void()>> scenarios{
      {"basic", test_basic},   {"restart", [&] { test_restart(limit); }},
      {"change", test_change}, {"heir", test_heir},
      {"two", test_two},       {"busy", test_busy},
      {"rounds", test_rounds}};
  const auto found = scenarios.find(scenario);
  if (found == scenarios.end()) {
    std::cerr << "usage: kernel-device basic|restart|change|heir|two|busy|rounds [SECONDS]\n";
    return 2;
  }
  found->second();
  return 0;
}
