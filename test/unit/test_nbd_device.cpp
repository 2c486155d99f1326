// What /proc and /sys say of a device, in a tree that looks like them.
#include <algorithm>
#include <fstream>

#include "nbd_device.hpp"
#include "test_support.hpp"

namespace plydisk {

namespace fs = std::filesystem;
using test::error_of;
using test::mentions;

namespace {

using Sentences = std::vector<std::string>;

class FakeSystem {
 public:
  FakeSystem() {
    write("sys/block/nbd3/dev", "43:96\n");
    write("sys/block/nbd3/size", "2048\n");
    write("sys/block/nbd3/ro", "0\n");
    write("sys/block/nbd3/queue/io_timeout", "30000\n");
    write("sys/block/nbd3/queue/max_sectors_kb", "128\n");
    write("sys/block/nbd3/queue/max_hw_sectors_kb", "32768\n");
    for (const char* number : {"10", "2", "1"}) {
      const std::string part = std::string("sys/block/nbd3/nbd3p") + number;
      write(part + "/partition", number);
      write(part + "/dev", "43:" + std::to_string(96 + std::stoi(number)));
    }
    write("dev/nbd3", "");
    write("proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
    write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/nbd30 partition 1 0 -2\n");
  }
  void write(const fs::path& name, const std::string& text) const {
    const fs::path file = root() / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::app) << text;
  }
  std::string read(const fs::path& name) const { return read_text(root() / name); }
  void open_by(const std::string& process, const fs::path& target) const {
    const fs::path directory = root() / "proc" / process / "fd";
    fs::create_directories(directory);
    const auto count = std::distance(fs::directory_iterator(directory), fs::directory_iterator());
    fs::create_symlink(target, directory / std::to_string(count));
  }
  fs::path root() const { return directory_.path(); }
  std::string dev(const std::string& name) const { return (root() / "dev" / name).string(); }
  NbdDevice device(unsigned index = 3) const {
    return NbdDevice(index, {root() / "proc", root() / "sys", root() / "dev"});
  }

 private:
  static std::string read_text(const fs::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  test::TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("nbd devices: their names") {
  CHECK(parse_nbd_index("/dev/nbd0") == 0);
  CHECK(parse_nbd_index("nbd15") == 15);
  for (const char* bad :
       {"", "3", "/dev/", "nbd", "/dev/sda", "nbd-1", "nbd+1", "nbd01", "nbd1 ", " nbd1", "nbd1x",
        "/dev/nbd99999999999", "dev/nbd1", "/dev//nbd1", "NBD1"})
    CHECK_MESSAGE(error_of([&] { parse_nbd_index(bad); }).code() == EINVAL, bad);
  const Error partition = error_of([] { parse_nbd_index("/dev/nbd3p1"); });
  CHECK(partition.code() == EINVAL);
  CHECK(mentions(partition, "give the whole disk, /dev/nbd3"));
  CHECK(NbdDevice(3).path() == "/dev/nbd3");
}

TEST_CASE("nbd devices: what the kernel says of one") {
  const FakeSystem system;
  const NbdDevice device = system.device();
  CHECK(device.size_bytes() == 1 << 20);
  CHECK_FALSE(device.is_read_only());
  CHECK_FALSE(device.is_connected());
  CHECK_FALSE(device.backend());
  CHECK(device.partitions() ==
        Sentences{system.dev("nbd3p1"), system.dev("nbd3p2"), system.dev("nbd3p10")});
  system.write("sys/block/nbd3/pid", "4711\n");
  system.write("sys/block/nbd3/backend", "debian@pc07\n");
  CHECK(device.is_connected());
  CHECK(device.connected_by() == 4711);
  CHECK(device.backend() == "debian@pc07");
  CHECK(error_of([&] { (void)system.device(4).uses(); }).code() == ENODEV);
  CHECK(error_of([&] { (void)system.device(4).size_bytes(); }).code() == ENOENT);
}

TEST_CASE("nbd devices: the limits of their queues") {
  const FakeSystem system;
  // The fake files are appended to; those of the kernel begin anew with each write.
  fs::resize_file(system.root() / "sys/block/nbd3/queue/io_timeout", 0);
  fs::resize_file(system.root() / "sys/block/nbd3/queue/max_sectors_kb", 0);
  system.device().set_queue_limits();
  CHECK(system.read("sys/block/nbd3/queue/io_timeout") == "2000");
  CHECK(system.read("sys/block/nbd3/queue/max_sectors_kb") == "1024");

  for (const auto& [hardware, wanted] :
       {std::pair{"1024", "1024"}, {"65536", "1024"}, {"512", "512"}}) {
    for (const char* file : {"io_timeout", "max_sectors_kb", "max_hw_sectors_kb"})
      fs::resize_file(system.root() / "sys/block/nbd3/queue" / file, 0);
    system.write("sys/block/nbd3/queue/max_hw_sectors_kb", hardware);
    system.device().set_queue_limits();
    CHECK(system.read("sys/block/nbd3/queue/max_sectors_kb") == wanted);
  }
}

TEST_CASE("nbd devices: nobody uses one") {
  const FakeSystem system;
  system.write("proc/self/mountinfo", "23 1 43:16 / /other rw - ext4 /dev/nbd1 rw\n");
  system.write("sys/block/loop0/loop/backing_file", "/var/disk.img\n");
  fs::create_directories(system.root() / "sys/block/nbd3/holders");
  system.open_by("70", system.dev("nbd30"));
  system.open_by("self", system.dev("nbd3"));  // no process's number
  CHECK(system.device().uses() == Sentences{});
}

TEST_CASE("nbd devices: mounts, of the disk, of a partition, of file systems with many devices") {
  const FakeSystem system;
  system.write("proc/self/mountinfo",
               "23 1 43:96 / /mnt/disk rw - ext4 /dev/nbd3 rw\n"
               "24 1 43:98 / /mnt/with\\040space rw shared:7 master:1 - xfs /dev/root rw\n"
               "25 1 0:40 / /mnt/btrfs rw shared:8 - btrfs " +
                   system.dev("nbd3p1") + " rw\n" + "26 1 43:97\n");
  CHECK(system.device().uses() ==
        Sentences{system.dev("nbd3") + " is mounted at /mnt/disk: unmount it",
                  system.dev("nbd3p1") + " is mounted at /mnt/btrfs: unmount it",
                  system.dev("nbd3p2") + " is mounted at /mnt/with space: unmount it"});
}

TEST_CASE("nbd devices: swap, holders, loop devices") {
  const FakeSystem system;
  system.write("proc/swaps", system.dev("nbd3p2") + " partition 1023996 0 -2\n");
  fs::create_directories(system.root() / "sys/block/nbd3/nbd3p1/holders/dm-0");
  system.write("sys/block/dm-0/dm/name", "vg-root\n");
  fs::create_directories(system.root() / "sys/block/nbd3/holders/md0");
  system.write("sys/block/loop7/loop/backing_file", system.dev("nbd3p10") + "\n");
  CHECK(system.device().uses() ==
        Sentences{system.dev("nbd3") + " is part of /dev/md0",
                  system.dev("nbd3p1") + " is part of /dev/mapper/vg-root",
                  system.dev("nbd3p2") + " is swap: take it away with swapoff",
                  system.dev("nbd3p10") + " is the file of /dev/loop7: detach it with losetup -d"});
}

TEST_CASE("nbd devices: processes that have one open, each once, with harmless names") {
  const FakeSystem system;
  system.write("proc/70/comm", "q\x1b[1memu\n");
  system.open_by("70", "/dev/null");
  system.open_by("70", system.dev("nbd3p1"));
  system.open_by("70", system.dev("nbd3p1"));
  system.open_by("71", system.dev("nbd3"));
  Sentences uses = system.device().uses();
  std::sort(uses.begin(), uses.end());
  CHECK(uses == Sentences{"process 70 (q?[1memu) has " + system.dev("nbd3p1") + " open",
                          "process 71 (?) has " + system.dev("nbd3") + " open"});
}

}  // namespace plydisk
