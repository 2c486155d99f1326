#include "disk_copy.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

namespace {

constexpr std::uint64_t longest_step = 32 << 20;  // bytes
// Larger writes of new data make the kernel look for larger pieces of memory, and be slower.
constexpr std::size_t longest_write = 128 << 10;
constexpr std::size_t longest_read = 1 << 20;

// The bytes of a disk, taken by the shortest way that there is.
class PieceReader {
 public:
  explicit PieceReader(OpenDisk& disk) : disk_(disk), buffer_(longest_read) {}

  // Calls fn(offset, length, is_zero, file) over the disk, in order, in steps.
  template <typename Fn>
  void for_each_step(Fn&& fn) {
    for (std::uint64_t place = 0; place < disk_.size();)
      for (const OpenDisk::Extent& extent : disk_.extents(place)) {
        const std::uint64_t end = extent.offset + extent.length;
        while (place < end) {
          const std::uint64_t step = std::min(end - place, longest_step);
          fn(place, step, extent.is_zero, file(extent.file));
          place += step;
        }
      }
  }

  // Calls fn(bytes, length, offset) over the range; `file` has it, if there is one.
  template <typename Fn>
  void read(const File* file, std::uint64_t offset, std::uint64_t length, Fn&& fn) {
    while (length > 0) {
      const std::size_t limit = file != nullptr ? longest_write : longest_read;
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(length, limit));
      std::size_t got = 0;
      if (file != nullptr) {
        const ssize_t here =
            ::pread(file->fd(), buffer_.data(), wanted, static_cast<off_t>(offset));
        if (here < 0 && errno == EINTR) continue;
        got = here > 0 ? static_cast<std::size_t>(here) : 0;
        // Its end, or a fault, which the disk itself explains best.
        if (got == 0) file = nullptr;
      } else {
        disk_.read(buffer_.data(), wanted, offset);
        got = wanted;
      }
      for (std::size_t done = 0; done < got; done += longest_write)
        fn(buffer_.data() + done, std::min(longest_write, got - done), offset + done);
      offset += got;
      length -= got;
    }
  }

 private:
  const File* file(int number) {
    if (number < 0) return nullptr;
    const auto [place, is_new] = files_.try_emplace(number);
    if (is_new) {
      place->second = disk_.open_file(number);
      if (place->second) ::posix_fadvise(place->second->fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return place->second ? &*place->second : nullptr;
  }

  OpenDisk& disk_;
  std::vector<std::byte> buffer_;
  std::map<int, std::optional<File>> files_;
};

// Within the kernel, and sharing the blocks where the file system can. Returns the bytes copied:
// less than `length` if this can't be done between these files, or at the end of `from`.
std::uint64_t copy_range(const File& from, const File& to, std::uint64_t offset,
                         std::uint64_t length) {
  std::uint64_t copied = 0;
  while (copied < length) {
    auto in = static_cast<off_t>(offset + copied), out = in;
    const ssize_t now = ::copy_file_range(from.fd(), &in, to.fd(), &out, length - copied, 0);
    if (now < 0 && errno == EINTR) continue;
    if (now < 0 && is_disk_full(errno)) throw_errno("cannot write " + to.path());
    if (now <= 0) break;
    copied += static_cast<std::uint64_t>(now);
  }
  return copied;
}

void write_all(int descriptor, const std::byte* bytes, std::size_t length) {
  while (length > 0) {
    const ssize_t put = ::write(descriptor, bytes, length);
    if (put < 0) {
      if (errno == EINTR) continue;
      throw_errno("cannot write the output");
    }
    bytes += put;
    length -= static_cast<std::size_t>(put);
  }
}

}  // namespace

void copy_disk(OpenDisk& disk, const File& to, bool is_empty, const Progress& progress) {
  PieceReader reader(disk);
  // The kernel begins to write what is copied while the rest is: half of the time is the disk's.
  constexpr std::uint64_t written_at_once = 32 << 20;
  std::uint64_t begun = 0;
  reader.for_each_step(
      [&](std::uint64_t offset, std::uint64_t length, bool is_zero, const File* file) {
        if (is_zero) {
          if (!is_empty) to.zero(offset, length, /*may_punch=*/true);
        } else {
          const std::uint64_t copied = file != nullptr ? copy_range(*file, to, offset, length) : 0;
          reader.read(file, offset + copied, length - copied,
                      [&](const std::byte* bytes, std::size_t count, std::uint64_t at) {
                        to.write(bytes, count, at);
                        progress(at + count, disk.size());
                      });
        }
        if (offset + length - begun >= written_at_once) {
          ::sync_file_range(to.fd(), static_cast<off_t>(begun),
                            static_cast<off_t>(offset + length - begun), SYNC_FILE_RANGE_WRITE);
          begun = offset + length;
        }
        progress(offset + length, disk.size());
      });
}

void stream_disk(OpenDisk& disk, int descriptor, const Progress& progress) {
  const std::vector<std::byte> zeros(longest_write);
  PieceReader reader(disk);
  reader.for_each_step([&](std::uint64_t offset, std::uint64_t length, bool is_zero,
                           const File* file) {
    if (is_zero) {
      for (std::uint64_t left = length; left > 0;) {
        const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(left, zeros.size()));
        write_all(descriptor, zeros.data(), piece);
        left -= piece;
      }
    } else {
      reader.read(file, offset, length,
                  [&](const std::byte* bytes, std::size_t count, std::uint64_t at) {
                    write_all(descriptor, bytes, count);
                    progress(at + count, disk.size());
                  });
    }
    progress(offset + length, disk.size());
  });
}

}  // namespace plydisk
