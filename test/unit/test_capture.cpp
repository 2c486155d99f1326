#include <cstring>
#include <random>

#include "base/program.hpp"
#include "capture/disk_layout.hpp"
#include "capture/file_systems.hpp"
#include "capture/partclone.hpp"
#include "capture/ranges.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;

TEST_CASE("ranges: as a flat array has them") {
  std::mt19937 random(20);
  for (int round = 0; round < 200; ++round) {
    std::array<bool, 64> flat{};
    Ranges ranges;
    for (int step = 0; step < 30; ++step) {
      const std::uint64_t a = random() % flat.size(), b = random() % (flat.size() + 1);
      const bool adds = random() % 3 != 0;
      if (adds)
        ranges.add({a, b});
      else
        ranges.remove({a, b});
      for (std::uint64_t i = a; i < b; ++i) flat[i] = adds;
      std::array<bool, 64> seen{};
      std::uint64_t next = 0;
      bool was_in = false;
      ranges.for_each_part({0, flat.size()}, [&](Range part, bool is_in) {
        REQUIRE(part.begin == next);
        REQUIRE(part.length() > 0);
        REQUIRE((next == 0 || is_in != was_in));
        was_in = is_in;
        next = part.end;
        for (std::uint64_t i = part.begin; i < part.end; ++i) seen[i] = is_in;
      });
      REQUIRE(next == flat.size());
      REQUIRE(seen == flat);
      REQUIRE(ranges.bytes() ==
              static_cast<std::uint64_t>(std::count(flat.begin(), flat.end(), true)));
    }
  }
  CHECK(Ranges{{0, 10}, {20, 30}}.within({5, 25}) == Ranges{{5, 10}, {20, 25}});
  CHECK(Ranges{{10, 20}, {0, 10}} == Ranges{{0, 20}});
}

TEST_CASE("partclone's map: what it calls free is free, and nothing else") {
  const std::string head = "# Domain logfile\n# current_pos  current_status\n0x00300000     ?\n";
  CHECK(free_in_domain(head + "0x00100000  0x00001000  +\n"
                              "0x00101000  0x000FF000  ?\n"
                              "0x00200000  0x00100000  +\n") == Ranges{{0x101000, 0x200000}});
  for (const std::string& bad :
       {std::string(), head, head + "0x0 0x0 +\n", head + "0x0 0x1000 *\n", head + "nothing\n",
        head + "0x0 0x1000 +\n0x2000 0x1000 ?\n", head + "0x1000 0xFFFFFFFFFFFFFFFF ?\n"})
    CHECK_MESSAGE(error_of([&] { free_in_domain(bad); }).code() == EIO, bad);
  CHECK(partclone_program("btrfs") == "partclone.btrfs");
  CHECK(!partclone_program("LVM2_member"));
}

namespace {

// A disk in memory.
struct MemoryDisk {
  explicit MemoryDisk(std::size_t size) : data(size) {}
  std::vector<unsigned char> data;
  void put(std::size_t at, std::initializer_list<unsigned> bytes) {
    for (const unsigned byte : bytes) data.at(at++) = static_cast<unsigned char>(byte);
  }
  void put(std::size_t at, std::string_view text) {
    std::memcpy(&data.at(at), text.data(), text.size());
  }
  ReadDisk reader() const {
    return [this](void* buffer, std::size_t length, std::uint64_t offset) {
      REQUIRE(offset + length <= data.size());
      std::memcpy(buffer, data.data() + offset, length);
    };
  }
};

constexpr std::size_t fat_size = 8 << 20;

// With clusters of one sector, so that there are enough for FAT16.
MemoryDisk fat16() {
  MemoryDisk disk(fat_size);
  disk.put(0x0b, {0x00, 0x02, 1, 1, 0, 2, 0x00, 0x02, 0xff, 0x3f, 0xf8, 64, 0});
  disk.put(512, {0xf8, 0xff, 0xff, 0xff});
  return disk;
}

}  // namespace

TEST_CASE("FAT: what was not unmounted is noticed") {
  const Range whole{0, fat_size};
  MemoryDisk disk = fat16();
  CHECK(fat_trouble(disk.reader(), whole).empty());
  disk.put(0x25, {1});
  CHECK(fat_trouble(disk.reader(), whole) == "was not unmounted");
  disk = fat16();
  disk.put(512 + 3, {0x7f});
  CHECK(fat_trouble(disk.reader(), whole) == "was not unmounted");
  disk.put(512 + 3, {0xbf});
  CHECK(fat_trouble(disk.reader(), whole) == "has errors");
  CHECK(fat_trouble(disk.reader(), {0, 1 << 20}) == "is damaged");
  CHECK(fat_trouble(MemoryDisk(fat_size).reader(), whole) == "is damaged");
}

TEST_CASE("damaged file systems are in trouble, whatever their numbers say") {
  std::mt19937 random(21);
  const Range whole{0, 1 << 20};
  for (int round = 0; round < 2000; ++round) {
    MemoryDisk disk(1 << 20);
    // Small numbers pass more of the checks than others.
    for (std::size_t i = 0; i < 0x100; ++i)
      disk.data[i] = static_cast<unsigned char>(random() % 2 == 0 ? random() % 4 : random());
    for (std::size_t i = 512; i < (64 << 10); ++i)
      disk.data[i] = static_cast<unsigned char>(random() % 8);
    for (std::size_t at = 512; at < (64 << 10); at += 512) disk.put(at, "FILE");
    (void)ntfs_trouble(disk.reader(), whole);
    (void)fat_trouble(disk.reader(), whole);
  }
  CHECK(ntfs_trouble(MemoryDisk(1 << 20).reader(), whole) == "is damaged");
  CHECK(btrfs_trouble(MemoryDisk(1 << 20).reader(), whole) == "is damaged");
  CHECK(btrfs_trouble(MemoryDisk(4096).reader(), {0, 4096}) == "is damaged");
}

TEST_CASE("layout: no table, and partitions that are not where they should be") {
  MemoryDisk disk(4 << 20);
  DiskLayout layout = read_layout(disk.reader(), disk.data.size(), 512);
  CHECK(layout.table.empty());
  REQUIRE(layout.partitions.size() == 1);
  CHECK(layout.partitions[0].range == Range{0, 4 << 20});
  const std::string empty = layout.fingerprint;
  CHECK(empty.size() == 64);

  disk.put(510, {0x55, 0xaa});
  disk.put(446, {0, 0, 0, 0, 0x83, 0, 0, 0, 0x00, 0x08, 0, 0, 0x00, 0x08, 0, 0});
  layout = read_layout(disk.reader(), disk.data.size(), 512);
  CHECK(layout.table == "dos");
  CHECK(layout.doubt.empty());
  CHECK(layout.fingerprint != empty);
  REQUIRE(layout.partitions.size() == 1);
  CHECK(layout.partitions[0].range == Range{1 << 20, 2 << 20});

  disk.put(462, {0, 0, 0, 0, 0x83, 0, 0, 0, 0xff, 0x0f, 0, 0, 0x00, 0x08, 0, 0});
  CHECK(read_layout(disk.reader(), disk.data.size(), 512).doubt ==
        "partition 2 overlaps another one");
  disk.put(462, {0, 0, 0, 0, 0x83, 0, 0, 0, 0x00, 0x10, 0, 0, 0x01, 0x10, 0, 0});
  CHECK(read_layout(disk.reader(), disk.data.size(), 512).doubt ==
        "partition 2 ends after the end of the disk");
}

TEST_CASE("programs: what they say, and how they end") {
  const ProgramResult result = run_program({"sh", "-c", "echo said; echo why >&2; exit 3"});
  CHECK(result.status == 3);
  CHECK(result.output == "said\n");
  CHECK(result.errors == "why\n");
  CHECK(result.complaint() == "why");
  CHECK(run_program({"sh", "-c", "kill -KILL $$"}).status == 128 + 9);
  CHECK(run_program({"false"}).complaint() == "it ended with status 1");
  CHECK(error_of([] { run_program({"no-such-program-anywhere"}); }).code() == ENOENT);
}

}  // namespace plydisk
