#include "layer/chunk_map.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "base/error.hpp"

namespace plydisk {

struct ChunkMap::Header {
  std::array<char, 8> magic;
  std::uint32_t format;
  std::uint32_t reserved;
  std::uint64_t disk_size;
  std::array<char, 40> uuid, boot_id;
  bool operator==(const Header&) const = default;
};

namespace {

// Where a file is copied on write, a page of the mapping that is allocated already needs room once
// more when it changes: a SIGBUS on a full disk. Only an empty file can be excepted from that, and
// most file systems have no such thing: then it fails, and nothing is lost.
void turn_off_copy_on_write(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

}  // namespace

ChunkMap::ChunkMap(const std::filesystem::path& path, const std::string& uuid,
                   std::uint64_t disk_size, const std::string& boot_id)
    : file_(File::open(path, O_RDWR | O_CREAT)),
      uuid_(uuid),
      boot_id_(boot_id),
      disk_size_(disk_size),
      chunks_(chunk_count(disk_size)) {
  const std::uint64_t pages = (chunks_ + entries_per_page - 1) / entries_per_page;
  length_ = (1 + pages) * page_size;
  present_ = std::make_unique<std::atomic<std::uint64_t>[]>(pages / 64 + 1);

  Header found{};
  const Header expected = make_header();
  believed_ = file_.size() == length_ &&
              ::pread(file_.fd(), &found, sizeof found, 0) == static_cast<ssize_t>(sizeof found) &&
              found == expected;
  void* const base =
      ::mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_.fd(), 0);
  if (base == MAP_FAILED) throw_errno("cannot map " + file_.path());
  ::madvise(base, length_, MADV_RANDOM);
  base_ = static_cast<std::byte*>(base);
  entries_ = reinterpret_cast<ChunkEntry*>(base_ + page_size);
  if (believed_) find_present_pages();
}

ChunkMap::~ChunkMap() { ::munmap(base_, length_); }

ChunkMap::Header ChunkMap::make_header() const {
  Header header{};
  std::memcpy(header.magic.data(), "plydmap\n", 8);
  header.format = 1;
  header.disk_size = disk_size_;
  uuid_.copy(header.uuid.data(), header.uuid.size() - 1);
  boot_id_.copy(header.boot_id.data(), header.boot_id.size() - 1);
  return header;
}

void ChunkMap::reset() {
  believed_ = false;
  for (std::uint64_t page = 0; page * entries_per_page < chunks_; page += 64)
    present_[page / 64] = 0;
  // Not through File: nobody believes a map after a reboot, so no record of it is owed.
  if (::ftruncate(file_.fd(), 0) != 0) throw_errno("cannot resize " + file_.path());
  turn_off_copy_on_write(file_.fd());
  if (::ftruncate(file_.fd(), static_cast<off_t>(length_)) != 0)
    throw_errno("cannot resize " + file_.path());
}

void ChunkMap::seal() {
  const Header header = make_header();
  if (::pwrite(file_.fd(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    throw_errno("cannot write " + file_.path());
  believed_ = true;
}

void ChunkMap::disbelieve() noexcept {
  const Header nobodys{};
  if (::pwrite(file_.fd(), &nobodys, sizeof nobodys, 0) != static_cast<ssize_t>(sizeof nobodys))
    ::unlink(file_.path().c_str());
}

void ChunkMap::find_present_pages() {
  off_t from = page_size;
  while (true) {
    const off_t data = ::lseek(file_.fd(), from, SEEK_DATA);
    if (data < 0) break;  // ENXIO: no more
    const off_t hole = ::lseek(file_.fd(), data, SEEK_HOLE);
    if (hole < 0) throw_errno("cannot seek in " + file_.path());
    for (std::uint64_t page = static_cast<std::uint64_t>(data) / page_size;
         page * page_size < static_cast<std::uint64_t>(hole); ++page)
      if (page > 0) present_[(page - 1) / 64] |= 1ULL << ((page - 1) % 64);
    from = hole;
  }
}

ChunkEntry& ChunkMap::ensure(std::uint64_t chunk) {
  const std::uint64_t page = chunk / entries_per_page;
  if (!is_present(page)) {
    const std::lock_guard lock(allocate_mutex_);
    if (!is_present(page)) allocate_window(page);
  }
  return entries_[chunk];
}

// A page that can't be allocated when it is touched is a SIGBUS; here it is an error. Zeros that
// are written reserve their room, and are in the page cache already: half the cost of fallocate().
void ChunkMap::allocate_window(std::uint64_t page) {
  static constexpr std::array<std::byte, window_pages * page_size> zeros{};
  const std::uint64_t start = page / window_pages * window_pages;
  const std::uint64_t end = std::min(start + window_pages, length_ / page_size - 1);
  for (std::uint64_t from = start; from < end;) {
    // Of pages that are there, nothing may be lost.
    std::uint64_t to = from;
    while (to < end && !is_present(to)) ++to;
    const std::size_t bytes = (to - from) * page_size;
    const std::uint64_t offset = (1 + from) * page_size;
    if (bytes > 0) {
      const ssize_t written = ::pwrite(file_.fd(), zeros.data(), bytes, static_cast<off_t>(offset));
      if (written < 0) throw_errno("cannot extend " + file_.path());
      if (written != static_cast<ssize_t>(bytes))
        throw Error(ENOSPC, "cannot extend " + file_.path() + ": no space left on the device");
      // All at once, instead of by a fault for each; where the kernel has no such thing, by those.
      ::madvise(base_ + offset, bytes, MADV_POPULATE_WRITE);
    }
    for (; from < to; ++from)
      present_[from / 64].fetch_or(1ULL << (from % 64), std::memory_order_release);
    ++from;
  }
}

}  // namespace plydisk
