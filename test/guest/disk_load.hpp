// Threads that write a disk and read it back, past the page cache, and know what each block must
// hold.
#pragma once

#include <atomic>
#include <chrono>
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

  // Works on the whole disk from now on; what was there before is overwritten. Of a prepared disk,
  // only the first half of each worker's blocks is; the others keep being read as prepare() made
  // them.
  DiskLoad(std::string path, std::uint64_t size_bytes, bool is_prepared = false);
  ~DiskLoad();
  DiskLoad(const DiskLoad&) = delete;
  DiskLoad& operator=(const DiskLoad&) = delete;

  // Requests that have been answered so far.
  std::uint64_t count() const { return count_.load(); }
  // Waits until so many more have been answered. Throws Error: ETIMEDOUT, or EIO as soon as one
  // failed or gave wrong data.
  void wait_for_progress(std::uint64_t requests, unsigned seconds);
  // EIO if a request failed or gave wrong data.
  void throw_if_failed();
  // Ends the threads, and reads every block. Throws as above.
  void stop_and_verify();
  // The same, and then goes on.
  void verify();
  // The longest that a request took since the last call.
  std::chrono::milliseconds take_longest();

  // Writes one generation of all blocks to a file: the first, if that becomes a disk.
  static void prepare(const std::string& path, std::uint64_t size_bytes,
                      std::uint32_t generation = 1);
  // Throws EIO if that is not what a file has.
  static void check(const std::string& path, std::uint64_t size_bytes,
                    std::uint32_t generation = 1);

 private:
  void start();
  void work(unsigned worker);
  void stop();

  std::string path_;
  // How often each block was written; each belongs to the one worker that it is congruent to.
  std::vector<std::uint32_t> generations_;
  bool is_prepared_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::int64_t> longest_ms_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::string failure_;  // protected by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace plydisk::test
