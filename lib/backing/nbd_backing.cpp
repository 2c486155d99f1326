#include "backing/nbd_backing.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "backing/nbd_links.hpp"
#include "base/error.hpp"
#include "base/memory.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

// Memory for writes that are not flushed. Who goes over it flushes. A small machine has less to
// give.
constexpr std::uint64_t most_kept_bytes = 64 << 20;
constexpr std::uint64_t kept_share = 32;
// Longer requests of these kinds may keep a server busy for long.
constexpr std::uint64_t longest_zero = 128 << 20;
constexpr std::uint64_t longest_extents = 1 << 30;

class NbdBacking final : public Backing {
 public:
  NbdBacking(const std::string& uri, const NbdOptions& options)
      : uri_(uri),
        links_(uri, options),
        size_((links_.size() + sector_size - 1) / sector_size * sector_size),
        kept_limit_(std::min(most_kept_bytes, memory_of_machine() / kept_share)) {
    if (size_ == 0) throw Error(EINVAL, uri + " is an empty disk");
  }

  std::uint64_t size() const noexcept override { return size_; }
  std::string describe() const override { return uri_; }
  bool is_cold() const noexcept override { return false; }
  void prefetch(std::uint64_t, std::uint64_t) const override {}

  void read(void* buffer, std::size_t length, std::uint64_t offset) const override {
    auto* to = static_cast<std::byte*>(buffer);
    if (offset + length > about().size) {
      const std::uint64_t from = std::max(offset, about().size);
      std::memset(to + (from - offset), 0, offset + length - from);
      length = static_cast<std::size_t>(from - offset);
    }
    if (is_aligned(offset) && is_aligned(length)) return read_blocks(to, length, offset);
    std::vector<std::byte> blocks(block_end(offset + length) - block_begin(offset));
    read_blocks(blocks.data(), blocks.size(), block_begin(offset));
    std::memcpy(to, blocks.data() + (offset - block_begin(offset)), length);
  }

  void for_each_extent(std::uint64_t offset, std::uint64_t length,
                       const ExtentFn& fn) const override {
    const std::uint64_t end = offset + length;
    while (offset < end) {
      const auto [bytes, is_zero] = extent_at(offset, end - offset);
      fn(offset, bytes, is_zero);
      offset += bytes;
    }
  }

  void open_for_writing() override {
    require_flushed();
    // Of a session that goes on, which has opened it before.
    if (!links_.is_known()) return;
    if (about().read_only) throw Error(EROFS, uri_ + " is read-only, so it can't be written");
    if (about().size != size_)
      throw Error(EINVAL, uri_ +
                              " has a size that is no multiple of 512 bytes, so it can't be "
                              "written");
  }
  void close_for_writing() noexcept override {}

  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    require_flushed();
    const auto* const from = static_cast<const std::byte*>(buffer);
    if (is_aligned(offset) && is_aligned(length)) return write_blocks(from, length, offset);
    // One at a time: another one may be changing the rest of a block.
    const std::lock_guard lock(partial_mutex_);
    std::vector<std::byte> blocks(block_end(offset + length) - block_begin(offset));
    read_blocks(blocks.data(), blocks.size(), block_begin(offset));
    std::memcpy(blocks.data() + (offset - block_begin(offset)), from, length);
    write_blocks(blocks.data(), blocks.size(), block_begin(offset));
  }

  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) override {
    require_flushed();
    if (!about().can_zero || !is_aligned(offset) || !is_aligned(length)) {
      static constexpr std::array<std::byte, chunk_size> zeros{};
      for_each_part(offset, length, zeros.size(),
                    [&](std::uint64_t at, std::size_t bytes) { write(zeros.data(), bytes, at); });
      return;
    }
    for_each_part(offset, length, longest_zero, [&](std::uint64_t at, std::size_t bytes) {
      change("zero", {at, bytes, nullptr, may_punch});
    });
  }

  void flush() override {
    require_flushed();
    if (links_.is_known() && !about().can_flush) return;
    try {
      links_.flush();
    } catch (const Error& error) {
      // What the server could not bring to its disk, it may have dropped. What it was not reached
      // for is kept.
      if (!is_unreachable(error.code())) flush_failed_.store(true);
      throw;
    }
  }

  bool send_by_multicast(std::uint64_t offset, std::uint64_t length) const override {
    if (offset >= about().size) return false;
    return links_.cache(offset, std::min(length, about().size - offset));
  }
  std::uint64_t connection() const noexcept override { return links_.connection(); }
  std::string interface() const override { return links_.interface(); }

  void wait_until_back() const override { links_.wait_until_back(); }
  std::string trouble() const override { return links_.trouble(); }
  void stay_in_session() noexcept override { links_.stay_in_session(); }
  void stop_waiting() noexcept override { links_.stop_waiting(); }

 private:
  const NbdExport& about() const { return links_.about(); }
  std::uint64_t block_begin(std::uint64_t offset) const {
    return offset / about().minimum_block * about().minimum_block;
  }
  std::uint64_t block_end(std::uint64_t offset) const {
    return std::min(about().size, block_begin(offset + about().minimum_block - 1));
  }
  bool is_aligned(std::uint64_t bytes) const { return bytes % about().minimum_block == 0; }

  template <typename Fn>
  static void for_each_part(std::uint64_t offset, std::uint64_t length, std::uint64_t longest,
                            Fn&& fn) {
    for (std::uint64_t done = 0; done < length; done += longest)
      fn(offset + done, static_cast<std::size_t>(std::min(longest, length - done)));
  }

  void read_blocks(std::byte* to, std::size_t length, std::uint64_t offset) const {
    for_each_part(offset, length, about().longest_request,
                  [&](std::uint64_t at, std::size_t bytes) {
                    links_.run("read", [&](NbdConnection& connection) {
                      return connection.read(to + (at - offset), bytes, at);
                    });
                  });
  }

  void write_blocks(const std::byte* from, std::size_t length, std::uint64_t offset) {
    for_each_part(offset, length, about().longest_request,
                  [&](std::uint64_t at, std::size_t bytes) {
                    change("write", {at, bytes, from + (at - offset), false});
                  });
  }

  // Changes the disk, and keeps the change until it is flushed.
  void change(const char* what, const NbdConnection::Write& write) {
    const auto request = [&](NbdConnection& connection) { return connection.write(write); };
    NbdLinks::GroupPtr group = links_.run(what, request);
    if (!about().can_flush) return;
    std::vector<std::byte> data;
    if (write.data != nullptr) data.assign(write.data, write.data + write.length);
    while (!links_.keep(group, write.offset, write.length, std::move(data), write.may_punch))
      group = links_.run(what, request);
    if (links_.kept_bytes() > kept_limit_) flush();
  }

  std::pair<std::uint64_t, bool> extent_at(std::uint64_t offset, std::uint64_t length) const {
    if (offset >= about().size) return {length, true};
    if (!about().has_extents) return {length, false};
    const std::uint64_t begin = block_begin(offset);
    const std::uint64_t end = std::min(block_end(offset + length), begin + longest_extents);
    std::vector<NbdConnection::Extent> extents;
    links_.run_structured("tell what is zero", [&](NbdConnection& connection) {
      extents.clear();
      return connection.extents(begin, end - begin, extents);
    });
    if (extents.empty() || begin + extents.front().length <= offset) return {length, false};
    return {std::min(length, begin + extents.front().length - offset), extents.front().is_zero};
  }

  void require_flushed() const {
    if (flush_failed_.load(std::memory_order_relaxed))
      throw Error(EIO, uri_ +
                           " can't be written any more, since the server could not flush and "
                           "writes may be lost; check the server's disk, then attach anew");
  }

  const std::string uri_;
  NbdLinks links_;
  const std::uint64_t size_;
  const std::uint64_t kept_limit_;  // bytes
  std::mutex partial_mutex_;
  std::atomic<bool> flush_failed_{false};
};

}  // namespace

std::shared_ptr<Backing> open_nbd_backing(const std::string& uri, const NbdOptions& options) {
  return std::make_shared<NbdBacking>(uri, options);
}

}  // namespace plydisk
