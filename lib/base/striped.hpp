// For what every request of a disk touches and hardly anybody changes: as many copies as would be
// touched at a time, each on a cache line of its own, so that processors do not take the line from
// each other at every request.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "base/fair_shared_mutex.hpp"

namespace plydisk {

inline constexpr std::size_t stripe_count = 8;
inline constexpr std::size_t cache_line = 64;  // bytes

// The stripe of the calling thread: always the same, from 0 to stripe_count - 1.
inline std::size_t thread_stripe() noexcept {
  static std::atomic<std::size_t> threads{0};
  thread_local std::size_t number = 0;
  if (number == 0) number = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  return number % stripe_count;
}

// One of many that are taken by different threads.
class alignas(cache_line) PaddedSharedMutex : public FairSharedMutex {};

// A FairSharedMutex that is quickly held shared, and slowly alone. Whoever holds it shared lets go
// of it in the same thread.
class StripedSharedMutex {
 public:
  void lock() {
    for (auto& stripe : stripes_) stripe.lock();
  }
  void unlock() {
    for (auto& stripe : stripes_) stripe.unlock();
  }
  void lock_shared() { stripes_[thread_stripe()].lock_shared(); }
  void unlock_shared() { stripes_[thread_stripe()].unlock_shared(); }

 private:
  std::array<PaddedSharedMutex, stripe_count> stripes_;
};

}  // namespace plydisk
