// Threads that write a disk and read it back, past the page cache, and know what each block must
// hold.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace plydisk::test {

class DiskLoad {
 public:
  static constexpr std::size_t block_size = 16384;
  static constexpr unsigned workers = 8;

  // Works on the whole disk from now on; what was there before is overwritten.
  DiskLoad(std::string path, std::uint64_t size_bytes);
  ~DiskLoad();
  DiskLoad(const DiskLoad&) = delete;
  DiskLoad& operator=(const DiskLoad&) = delete;

  // Requests that have been answered so far.
  std::uint64_t count() const { return count_.load(); }
  // Waits until so many more have been answered. Throws Error: ETIMEDOUT, or EIO as soon as one
  // failed or gave wrong data.
  void wait_for_progress(std::uint64_t requests, unsigned seconds);
  // Ends the threads, and reads every block. Throws as above.
  void stop_and_verify();

 private:
  void work(unsigned worker);
  void stop();
  // Throws EIO if the block is not as it was written last.
  void check_block(const std::byte* content, std::uint64_t block) const;
  void throw_if_failed();

  std::string path_;
  // How often each block was written; each belongs to the one worker that it is congruent to.
  std::vector<std::uint32_t> generations_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::string failure_;  // protected by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace plydisk::test
