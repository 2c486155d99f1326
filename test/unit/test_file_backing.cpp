// A file under a disk: odd sizes, holes, and what makes it refuse to be written.
#include <fcntl.h>

#include <vector>

#include "backing/backing.hpp"
#include "base/file.hpp"
#include "storage_faults.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::FailingSyncs;
using plydisk::test::mentions;
using plydisk::test::TemporaryDirectory;

namespace {

struct BackingFixture {
  TemporaryDirectory directory;
  std::filesystem::path path() const { return directory.path() / "disk"; }

  std::shared_ptr<Backing> make(std::size_t bytes) {
    const std::vector<char> content(bytes, 'x');
    File::open(path(), O_RDWR | O_CREAT).write(content.data(), content.size(), 0);
    return open_file_backing(path().string());
  }
  std::vector<char> file_content() const {
    const File file = File::open(path(), O_RDONLY);
    std::vector<char> content(file.size());
    file.read(content.data(), content.size(), 0);
    return content;
  }
};

std::vector<char> get(const Backing& backing, std::uint64_t offset, std::size_t length) {
  std::vector<char> bytes(length);
  backing.read(bytes.data(), length, offset);
  return bytes;
}

void put(Backing& backing, std::uint64_t offset, std::size_t length, char value) {
  const std::vector<char> bytes(length, value);
  backing.write(bytes.data(), length, offset);
}

std::uint64_t zeros_in(const Backing& backing) {
  std::uint64_t zeros = 0;
  backing.for_each_extent(0, backing.size(),
                          [&](std::uint64_t, std::uint64_t length, bool is_zero) {
                            if (is_zero) zeros += length;
                          });
  return zeros;
}

std::vector<char> joined(std::vector<char> left, const std::vector<char>& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

}  // namespace

TEST_CASE_FIXTURE(BackingFixture, "a file of whole sectors is written where it is told") {
  const auto backing = make(1 << 20);
  backing->open_for_writing();
  put(*backing, 4096, 512, 'a');
  backing->zero(8192, 512, false);
  backing->flush();
  CHECK(get(*backing, 4096, 512) == std::vector<char>(512, 'a'));
  CHECK(get(*backing, 8192, 512) == std::vector<char>(512, 0));
  CHECK(get(*backing, 4608, 512) == std::vector<char>(512, 'x'));
  CHECK(file_content().size() == 1 << 20);
}

TEST_CASE_FIXTURE(BackingFixture, "an odd file reads on as zeros, and is left as it is") {
  const auto backing = make(70'001);
  CHECK(backing->size() == 70'144);
  CHECK(get(*backing, 69'999, 145) == joined({'x', 'x'}, std::vector<char>(143, 0)));
  CHECK(file_content().size() == 70'001);
}

TEST_CASE_FIXTURE(BackingFixture, "an odd file that is written directly loses nothing at its end") {
  const auto backing = make(70'001);
  // The mapping is in use.
  for (int i = 0; i < 100; ++i) get(*backing, 65'536, 4096);
  backing->open_for_writing();
  CHECK(get(*backing, 69'999, 145) == joined({'x', 'x'}, std::vector<char>(143, 0)));
  put(*backing, 69'632, 512, 'a');
  const auto expected = joined(std::vector<char>(69'632, 'x'), std::vector<char>(512, 'a'));
  CHECK(get(*backing, 0, 70'144) == expected);
  backing->flush();
  CHECK(file_content() == expected);
  CHECK(zeros_in(*backing) == 0);
  backing->zero(69'632, 512, false);
  CHECK(get(*backing, 69'632, 512) == std::vector<char>(512, 0));
  put(*backing, 70'001, 143, 'b');
  backing->close_for_writing();
  CHECK(get(*backing, 70'001, 143) == std::vector<char>(143, 'b'));
  CHECK(get(*open_file_backing(path().string()), 70'001, 143) == std::vector<char>(143, 'b'));
}

TEST_CASE_FIXTURE(BackingFixture, "an odd file that was cut short is not filled up with zeros") {
  const auto backing = make(70'001);
  File::open(path(), O_RDWR).truncate(4096);
  CHECK(error_of([&] { backing->open_for_writing(); }).code() == EIO);
  CHECK(file_content().size() == 4096);
}

TEST_CASE_FIXTURE(BackingFixture, "a sync that failed stays failed, and reads go on") {
  const auto backing = make(1 << 20);
  backing->open_for_writing();
  put(*backing, 0, 512, 'a');
  {
    const FailingSyncs failing("/disk", ENOSPC);
    CHECK(error_of([&] { backing->flush(); }).code() == EIO);
  }
  CHECK(mentions(error_of([&] { backing->flush(); }), "restart the server"));
  CHECK(error_of([&] { put(*backing, 0, 512, 'b'); }).code() == EIO);
  CHECK(error_of([&] { backing->zero(0, 512, false); }).code() == EIO);
  CHECK(get(*backing, 0, 512) == std::vector<char>(512, 'a'));
  backing->close_for_writing();
  CHECK(error_of([&] { backing->open_for_writing(); }).code() == EIO);
}

TEST_CASE_FIXTURE(BackingFixture, "a file that was replaced is not written") {
  const auto backing = make(4096);
  const auto aside = directory.path() / "aside";
  std::filesystem::copy_file(path(), aside);
  std::filesystem::rename(aside, path());
  const Error error = error_of([&] { backing->open_for_writing(); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, "put that file back"));
}

TEST_CASE_FIXTURE(BackingFixture, "a file that is read by others is not written") {
  const auto backing = make(4096);
  {
    const auto other = open_file_backing(path().string());
    CHECK(mentions(error_of([&] { backing->open_for_writing(); }), "in use by another process"));
  }
  backing->open_for_writing();
  CHECK(error_of([&] { open_file_backing(path().string()); }).code() == EBUSY);
}

TEST_CASE_FIXTURE(BackingFixture, "holes are zeros, but not past where a file was cut short") {
  const auto backing = [&] {
    make(4096);
    File::open(path(), O_RDWR).truncate(1 << 20);
    return open_file_backing(path().string());
  }();
  CHECK(zeros_in(*backing) == (1 << 20) - 4096);
  File::open(path(), O_RDWR).truncate(512 << 10);
  CHECK(zeros_in(*backing) == 0);
  CHECK(error_of([&] { get(*backing, 768 << 10, 512); }).code() == EIO);
}
