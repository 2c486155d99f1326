// How much may be sent when: so many bytes a second, and so many at once.
//
// Thread safety: one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace plydisk {

class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;
  // Bytes a second, which is not 0, and bytes.
  TokenBucket(std::uint64_t rate, std::uint64_t burst, Clock::time_point now)
      : rate_(rate), burst_(static_cast<double>(burst)), tokens_(burst_), at_(now) {}

  // Takes them, and returns how long to wait before they are sent.
  Clock::duration take(std::uint64_t bytes, Clock::time_point now) {
    const std::chrono::duration<double> passed = now - at_;
    tokens_ = std::min(burst_, tokens_ + passed.count() * static_cast<double>(rate_));
    at_ = now;
    tokens_ -= static_cast<double>(bytes);
    if (tokens_ >= 0) return {};
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(-tokens_ / static_cast<double>(rate_)));
  }
  // From now on; bytes a second.
  void set_rate(std::uint64_t rate, Clock::time_point now) {
    take(0, now);
    rate_ = rate;
  }

 private:
  std::uint64_t rate_;
  const double burst_;
  double tokens_;
  Clock::time_point at_;
};

}  // namespace plydisk
