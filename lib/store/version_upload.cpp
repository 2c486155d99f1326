#include "store/version_upload.hpp"

#include <chrono>

#include "layer/layer.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

constexpr std::chrono::milliseconds between_reports{100};
// A station may be slow, but not as slow as this from one piece to the next.
constexpr std::chrono::seconds longest_silence{60};

}  // namespace

VersionUpload::VersionUpload(std::shared_ptr<Layer> layer, std::string station)
    : station_(std::move(station)), size_(layer->identity().disk_size), layer_(std::move(layer)) {}

template <typename Fn>
void VersionUpload::change(std::uint64_t offset, std::uint64_t length, Fn&& fn) {
  if (offset % sector_size != 0 || length % sector_size != 0 || offset > size_ ||
      length > size_ - offset)
    throw Error(EINVAL, "a version is made of whole sectors of its disk");
  const std::shared_lock lock(layer_mutex_);
  if (!layer_) throw Error(ESTALE, "nobody waits for this version any more");
  try {
    fn(*layer_);
  } catch (const Error& error) {
    fail(error.code(), error.what());
    throw;
  }
  received_.fetch_add(length);
}

void VersionUpload::write(const void* buffer, std::size_t length, std::uint64_t offset) {
  change(offset, length, [&](Layer& layer) { layer.write(buffer, length, offset); });
}

void VersionUpload::zero(std::uint64_t offset, std::uint64_t length) {
  change(offset, length, [&](Layer& layer) { layer.zero(offset, length); });
}

void VersionUpload::end() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

void VersionUpload::fail(int code, const std::string& sentence) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_ && !error_) error_.emplace(code, sentence);
  }
  changed_.notify_all();
}

void VersionUpload::wait(std::uint64_t bytes, const Progress& progress) {
  using Clock = std::chrono::steady_clock;
  auto heard = Clock::now();
  std::uint64_t known = 0;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, between_reports, [this] { return ended_ || error_; })) {
    const std::uint64_t received = received_.load();
    if (received != known) heard = Clock::now();
    known = received;
    if (Clock::now() - heard > longest_silence)
      throw Error(ETIMEDOUT, "station " + quote(station_) + " has stopped sending what it has");
    lock.unlock();
    if (progress) progress(received, bytes);
    lock.lock();
  }
  if (error_) throw Error(*error_);
  if (received_.load() != bytes)
    throw Error(EIO, "station " + quote(station_) + " has sent " +
                         std::to_string(received_.load()) + " bytes instead of " +
                         std::to_string(bytes));
}

std::shared_ptr<Layer> VersionUpload::close() noexcept {
  const std::lock_guard lock(layer_mutex_);
  return std::exchange(layer_, nullptr);
}

}  // namespace plydisk
