#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

namespace plydisk {

namespace {

// Where the SIGBUS handler returns to, if this thread is inside guarded_copy.
thread_local sigjmp_buf* guard_return = nullptr;
struct sigaction previous_action;

void on_bus_error(int signal, siginfo_t* info, void* context) {
  if (guard_return != nullptr) siglongjmp(*guard_return, 1);
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr)
    return previous_action.sa_sigaction(signal, info, context);
  // Not ours and nobody else's: let the access fault again, with the default action.
  ::signal(signal, SIG_DFL);
}

void install_bus_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    // The mask is not saved by sigsetjmp (a system call); SA_NODEFER keeps SIGBUS deliverable.
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_action);
  });
}

// Larger copies are left to the processor ("rep movsb"), and there AMD's Zen 3 is five times slower
// than a loop where the destination lies a few bytes further into its page than the source: as the
// large buffers of malloc() do, 16 bytes into theirs.
constexpr std::size_t copied_at_once = 4096;

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

constexpr int first_cold_spell = 16;      // reads
constexpr int shortest_cold_spell = 128;  // reads
constexpr int longest_cold_spell = 1 << 16;
constexpr std::uint64_t short_warm_spell_ns = 100'000'000;

bool is_in_memory(const File& file) {
  struct statfs info {};
  return ::fstatfs(file.fd(), &info) == 0 && info.f_type == TMPFS_MAGIC;
}

// Whether a read of `length` bytes that took `ns` may have waited for the disk.
bool is_slow(std::uint64_t ns, std::size_t length) { return ns > 25'000 + length; }

// Whether this thread has waited for, or asked for, a block from a disk since it was last asked:
// what tells a slow read from a preempted one.
bool thread_did_disk_input() {
  thread_local long seen = 0;
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const long now = usage.ru_majflt + usage.ru_inblock;
  return std::exchange(seen, now) != now;
}

}  // namespace

// Saving the signal mask would be a system call for each copy, and SA_NODEFER makes it needless.
// But ThreadSanitizer's own handler blocks all signals.
#ifdef __SANITIZE_THREAD__
constexpr int saved_mask = 1;
#else
constexpr int saved_mask = 0;
#endif

bool guarded_copy(void* to, const void* from, std::size_t length) noexcept {
  sigjmp_buf here;
  if (sigsetjmp(here, saved_mask) != 0) {
    guard_return = nullptr;
    return false;
  }
  guard_return = &here;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (std::size_t done = 0; done < length; done += copied_at_once)
    std::memcpy(static_cast<std::byte*>(to) + done, static_cast<const std::byte*>(from) + done,
                std::min(copied_at_once, length - done));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  guard_return = nullptr;
  return true;
}

MappedFile::MappedFile(File file, std::uint64_t length, bool for_writing)
    : file_(std::move(file)), cold_reads_(first_cold_spell), cold_spell_(shortest_cold_spell) {
  if (length == 0) return;
  const bool writes = for_writing && is_in_memory(file_);
  void* const base = ::mmap(nullptr, length, PROT_READ | (writes ? PROT_WRITE : 0),
                            MAP_SHARED | MAP_NORESERVE, file_.fd(), 0);
  if (base == MAP_FAILED) return;
  for_writing_ = writes;
  // Without this a cold page brings its neighbours along, at a hundred times the cost.
  ::madvise(base, length, MADV_RANDOM);
  // In a process that has locked its memory (mlockall): a disk's data is not a part of that.
  ::munlock(base, length);
  base_ = static_cast<std::byte*>(base);
  length_ = length;
  install_bus_handler();
}

MappedFile::~MappedFile() {
  if (base_ != nullptr) ::munmap(base_, length_);
}

void MappedFile::turn_cold() const {
  const bool was_short =
      now_ns() - warm_since_ns_.load(std::memory_order_relaxed) < short_warm_spell_ns;
  const int spell =
      was_short ? std::min(cold_spell_.load(std::memory_order_relaxed) * 2, longest_cold_spell)
                : shortest_cold_spell;
  cold_spell_.store(spell, std::memory_order_relaxed);
  cold_reads_.store(spell, std::memory_order_relaxed);
}

bool MappedFile::read_mapped(void* buffer, std::size_t length, std::uint64_t offset) const {
  const std::uint64_t start = now_ns();
  if (!guarded_copy(buffer, base_ + offset, length)) return false;
  if (is_slow(now_ns() - start, length) && thread_did_disk_input()) turn_cold();
  return true;
}

void MappedFile::read(void* buffer, std::size_t length, std::uint64_t offset) const {
  const bool is_mapped = offset + length <= length_;
  const int cold = cold_reads_.load(std::memory_order_relaxed);
  if (is_mapped && cold == 0 && read_mapped(buffer, length, offset)) return;
  const std::uint64_t start = now_ns();
  file_.read(buffer, length, offset);
  if (cold == 0) return;
  if (is_slow(now_ns() - start, length) && thread_did_disk_input()) {
    cold_reads_.store(cold_spell_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return;
  }
  if (cold == 1) warm_since_ns_.store(now_ns(), std::memory_order_relaxed);
  cold_reads_.store(cold - 1, std::memory_order_relaxed);
}

void MappedFile::write(const void* buffer, std::size_t length, std::uint64_t offset) {
  const bool is_mapped = for_writing_ && offset + length <= length_;
  if (is_mapped && guarded_copy(base_ + offset, buffer, length)) return;
  file_.write(buffer, length, offset);
}

void MappedFile::prefetch(std::uint64_t offset, std::uint64_t length) const {
  ::posix_fadvise(file_.fd(), static_cast<off_t>(offset), static_cast<off_t>(length),
                  POSIX_FADV_WILLNEED);
}

}  // namespace plydisk
