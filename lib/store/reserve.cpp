#include "store/reserve.hpp"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk {

namespace {

constexpr std::uint64_t largest = 4 << 20;       // bytes
constexpr std::uint64_t little_space = 1 << 20;  // bytes
constexpr std::uint64_t part = 8;                // of the free space it takes no more than one

}  // namespace

Reserve::Reserve(const std::filesystem::path& store) : store_(store), path_(store / "reserve") {}

void Reserve::keep() const noexcept {
  try {
    const std::uint64_t held = allocated_in(path_);
    const std::uint64_t available = std::filesystem::space(store_).available;
    const std::uint64_t wanted = std::min(largest, (available + held) / part);
    if (held < wanted / 2) allocate(wanted);
  } catch (const std::exception&) {
    // Then there is none.
  }
}

std::uint64_t Reserve::give_up() const noexcept {
  try {
    const std::uint64_t held = allocated_in(path_);
    std::error_code error;
    return std::filesystem::remove(path_, error) ? held : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

void Reserve::give_up_if_full() const noexcept {
  std::error_code error;
  if (std::filesystem::space(store_, error).available <= little_space && !error) give_up();
}

void Reserve::take_back(std::uint64_t bytes) const noexcept {
  try {
    const std::uint64_t available = std::filesystem::space(store_).available;
    if (const std::uint64_t wanted = std::min(bytes, available); wanted > 0) allocate(wanted);
  } catch (const std::exception&) {
    // What is left will do.
  }
}

// The file stays empty, since nobody reads it.
void Reserve::allocate(std::uint64_t bytes) const {
  const File file = File::open(path_, O_RDWR | O_CREAT);
  if (::fallocate(file.fd(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0) return;
  if (errno != EOPNOTSUPP) throw_errno("cannot allocate " + file.path());
  const std::vector<char> some(bytes);
  file.write(some.data(), some.size(), 0);
}

}  // namespace plydisk
