// Keeps what the page cache holds of a file in memory while measurements run: on a machine that
// has to give memory back, the cache is emptied within seconds, and disks would be measured.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

namespace bench {

class PinnedFile {
 public:
  // Throws std::runtime_error if the file can't be mapped. That its pages could not be locked is
  // told on stderr alone: the measurement is still right on a machine with memory to spare.
  explicit PinnedFile(const std::string& path);
  PinnedFile(PinnedFile&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), length_(other.length_) {}
  PinnedFile& operator=(PinnedFile&&) = delete;
  ~PinnedFile();

 private:
  void* address_ = nullptr;
  std::size_t length_ = 0;
};

}  // namespace bench
