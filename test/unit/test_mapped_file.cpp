// Reads out of a mapping, and what happens when the file shrinks under it.
#include <fcntl.h>
#include <sys/mman.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;

TEST_CASE("a mapped file gives the bytes of the file, mapped or not") {
  const plydisk::test::TemporaryDirectory directory;
  std::vector<unsigned char> bytes(300'000);
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
  const File file = File::open(directory.path() / "f", O_RDWR | O_CREAT);
  file.write(bytes.data(), bytes.size(), 0);
  // The second half is not mapped at all.
  const MappedFile mapped(File::open(directory.path() / "f", O_RDONLY), bytes.size() / 2);
  for (unsigned round = 0; round < 1000; ++round) {
    const std::size_t at = round * 7919 % (bytes.size() - 5000);
    std::vector<unsigned char> got(5000);
    mapped.read(got.data(), got.size(), at);
    REQUIRE(std::equal(got.begin(), got.end(), bytes.begin() + static_cast<long>(at)));
  }
}

TEST_CASE("a file in memory is written through its mapping, or without where that fails") {
  const UniqueFd memory(::memfd_create("test", 0));
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  const File file = File::open(path, O_RDWR);
  const std::vector<char> old(1 << 20, 'o'), fresh(70'000, 'n');
  file.write(old.data(), old.size(), 0);
  MappedFile mapped(File::open(path, O_RDWR), old.size() / 2, true);
  CHECK(mapped.is_mapped_for_writing());
  std::vector<char> got(fresh.size());
  const auto check_written_at = [&](std::uint64_t offset) {
    mapped.write(fresh.data(), fresh.size(), offset);
    file.read(got.data(), got.size(), offset);
    CHECK(got == fresh);
  };
  check_written_at(12'345);
  check_written_at((old.size() / 2) - 1000);  // over the mapping's end
  char before = 0;
  file.read(&before, 1, 12'344);
  CHECK(before == 'o');
  file.truncate(0);
  check_written_at(4096);  // no page is there any more
  MappedFile reading(File::open(path, O_RDWR), old.size());
  CHECK_FALSE(reading.is_mapped_for_writing());
}

TEST_CASE("a file that was truncated under its mapping is an I/O error, not a signal") {
  const plydisk::test::TemporaryDirectory directory;
  const File file = File::open(directory.path() / "f", O_RDWR | O_CREAT);
  const std::vector<char> bytes(1 << 20, 'x');
  file.write(bytes.data(), bytes.size(), 0);
  const MappedFile mapped(File::open(directory.path() / "f", O_RDONLY), bytes.size());
  std::vector<char> got(4096);
  for (unsigned i = 0; i < 200; ++i) mapped.read(got.data(), got.size(), i * 4096U);
  file.truncate(4096);
  CHECK(error_of([&] { mapped.read(got.data(), got.size(), 512 << 10); }).code() == EIO);
  mapped.read(got.data(), got.size(), 0);
  CHECK(got == std::vector<char>(4096, 'x'));
}
