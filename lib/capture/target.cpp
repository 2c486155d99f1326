#include "capture/target.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "backing/nbd_backing.hpp"
#include "base/disk_buffer.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk {

namespace {

// Written and read past the page cache where that is possible: a disk would push everything else
// out of it, and what is compared is to come from the disk.
class FileTarget final : public CaptureTarget {
 public:
  FileTarget(const std::filesystem::path& path, std::uint64_t size)
      : file_(File::open(path, O_RDWR | O_CREAT)), size_(size), reached_(file_.size()) {
    try {
      direct_ = File::open(path, O_RDWR | O_DIRECT);
    } catch (const Error&) {
      // This file system has no such thing.
    }
  }

  std::string name() const override { return file_.path(); }
  std::uint64_t size() const override { return size_; }
  bool has_reached(std::uint64_t done) const override { return reached_ >= done; }

  // What was written later may be half there.
  void begin_at(std::uint64_t done) override {
    file_.truncate(done);
    file_.truncate(size_);
    file_.sync();
    sync_directory(std::filesystem::path(file_.path()).parent_path());
  }
  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    const auto* const from = static_cast<const std::byte*>(buffer);
    for_each_part(from, length, offset, [&](const File& file, std::size_t bytes, std::uint64_t at) {
      file.write(from + (at - offset), bytes, at);
    });
  }
  // It is written once, from its beginning to its end, and what is not written is a hole.
  void zero(Range) override {}
  void sync() override { file_.sync_data(); }
  void forget_cached() override {
    ::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_DONTNEED);
    ::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override {
    auto* const to = static_cast<std::byte*>(buffer);
    for_each_part(to, length, offset, [&](const File& file, std::size_t bytes, std::uint64_t at) {
      file.read(to + (at - offset), bytes, at);
    });
  }
  std::uint64_t next_data(std::uint64_t offset) override {
    const off_t data = ::lseek(file_.fd(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0) return errno == ENXIO ? size_ : offset;
    return static_cast<std::uint64_t>(data);
  }

 private:
  // Calls fn(file, length, offset) for the part that is aligned, by direct_, and for its edges.
  // What is not as well aligned in memory is all edge.
  template <typename Fn>
  void for_each_part(const std::byte* memory, std::size_t length, std::uint64_t offset, Fn&& fn) {
    const std::uint64_t end = offset + length;
    const std::uint64_t first =
        std::min(end, (offset + direct_alignment - 1) / direct_alignment * direct_alignment);
    const std::uint64_t last = std::max(first, end / direct_alignment * direct_alignment);
    if (reinterpret_cast<std::uintptr_t>(memory) % direct_alignment != offset % direct_alignment ||
        !direct_ || first == last)
      return fn(file_, length, offset);
    if (first > offset) fn(file_, first - offset, offset);
    try {
      fn(direct_, last - first, first);
    } catch (const Error& error) {
      // A device with larger blocks.
      if (error.code() != EINVAL) throw;
      direct_ = File();
      fn(file_, last - first, first);
    }
    if (end > last) fn(file_, end - last, last);
  }

  File file_;
  File direct_;  // the same with O_DIRECT, if that works
  std::uint64_t size_;
  std::uint64_t reached_;  // bytes that it had before
};

class NbdTarget final : public CaptureTarget {
 public:
  explicit NbdTarget(const std::string& uri) {
    // A server that goes away for longer fails the capture, which can be gone on with.
    NbdOptions options;
    options.patience = std::chrono::minutes(1);
    backing_ = open_nbd_backing(uri, options);
    backing_->open_for_writing();
  }

  std::string name() const override { return without_token(backing_->describe()); }
  std::uint64_t size() const override { return backing_->size(); }
  bool has_reached(std::uint64_t) const override { return true; }
  void begin_at(std::uint64_t) override {}
  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    backing_->write(buffer, length, offset);
  }
  void zero(Range range) override {
    backing_->for_each_extent(range.begin, range.length(),
                              [this](std::uint64_t at, std::uint64_t bytes, bool is_zero) {
                                if (!is_zero) backing_->zero(at, bytes, true);
                              });
  }
  void sync() override { backing_->flush(); }
  void forget_cached() override {}
  void read(void* buffer, std::size_t length, std::uint64_t offset) override {
    backing_->read(buffer, length, offset);
  }
  std::uint64_t next_data(std::uint64_t offset) override { return offset; }

 private:
  std::shared_ptr<Backing> backing_;
};

}  // namespace

std::unique_ptr<CaptureTarget> open_file_target(const std::filesystem::path& path,
                                                std::uint64_t size) {
  return std::make_unique<FileTarget>(path, size);
}

std::unique_ptr<CaptureTarget> open_nbd_target(const std::string& uri) {
  return std::make_unique<NbdTarget>(uri);
}

}  // namespace plydisk
