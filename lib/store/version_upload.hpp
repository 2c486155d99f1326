// At a server: where a station sends what its own layers hold, for a version that is being made of
// its session. It goes into a layer of its own, which is nobody's until the version is there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>

#include "base/error.hpp"
#include "base/progress.hpp"

namespace plydisk {

class Layer;

// Thread safety: all functions from any thread.
class VersionUpload {
 public:
  // `station`: its name, for sentences.
  VersionUpload(std::shared_ptr<Layer> layer, std::string station);

  std::uint64_t size() const noexcept { return size_; }  // of the disk, in bytes
  // Whole sectors of the disk, inside size(). Throw Error: EINVAL; ESTALE if nobody waits for them
  // any more; what the layer says, of which whoever waits hears, too.
  void write(const void* buffer, std::size_t length, std::uint64_t offset);
  void zero(std::uint64_t offset, std::uint64_t length);
  // The station has sent all that it has.
  void end();
  // It does not come to that. What was said first counts.
  void fail(int code, const std::string& sentence) noexcept;

  // Waits until all is here, that is `bytes`. Throws Error: what was said to fail(); ETIMEDOUT when
  // nothing has come for long; EIO if it was not all.
  void wait(std::uint64_t bytes, const Progress& progress);
  // Takes no more, and gives the layer up once nobody writes to it. Null if it was done before.
  std::shared_ptr<Layer> close() noexcept;

 private:
  template <typename Fn>
  void change(std::uint64_t offset, std::uint64_t length, Fn&& fn);

  const std::string station_;
  std::uint64_t size_;
  std::shared_mutex layer_mutex_;           // held shared by who writes to the layer
  std::shared_ptr<Layer> layer_;            // protected by it; null: closed
  std::atomic<std::uint64_t> received_{0};  // bytes

  std::mutex mutex_;  // protects all below
  std::condition_variable changed_;
  bool ended_ = false;
  std::optional<Error> error_;
};

}  // namespace plydisk
