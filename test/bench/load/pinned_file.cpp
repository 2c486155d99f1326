#include "pinned_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace bench {

PinnedFile::PinnedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd == -1 || fstat(fd, &status) == -1) {
    throw std::runtime_error(path + ": " + std::strerror(errno));
  }
  length_ = static_cast<std::size_t>(status.st_size);
  if (length_ != 0) address_ = mmap(nullptr, length_, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (length_ == 0) return;
  if (address_ == MAP_FAILED) {
    address_ = nullptr;
    throw std::runtime_error(path + ": " + std::strerror(errno));
  }
  // Nothing is read from the disk here: pages that are cached are touched, which maps and locks
  // them. Without read-around, which would fill the holes of sparse files.
  madvise(address_, length_, MADV_RANDOM);
  if (mlock2(address_, length_, MLOCK_ONFAULT) == -1) {
    std::fprintf(stderr, "nbd-slices: %s can't be locked in memory (%s): raise `ulimit -l`\n",
                 path.c_str(), std::strerror(errno));
    return;
  }
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t pages = (length_ + page - 1) / page;
  std::vector<unsigned char> cached(pages);
  if (mincore(address_, length_, cached.data()) == -1) return;
  const volatile char* bytes = static_cast<const volatile char*>(address_);
  for (std::size_t i = 0; i < pages; ++i) {
    if (cached[i] & 1) static_cast<void>(bytes[i * page]);
  }
}

PinnedFile::~PinnedFile() {
  if (address_ != nullptr) munmap(address_, length_);
}

}  // namespace bench
