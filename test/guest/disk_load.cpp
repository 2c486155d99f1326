#include "disk_load.hpp"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

struct Freer {
  void operator()(std::byte* buffer) const noexcept { std::free(buffer); }
};

std::unique_ptr<std::byte, Freer> make_buffer(std::size_t size) {
  return std::unique_ptr<std::byte, Freer>(static_cast<std::byte*>(std::aligned_alloc(4096, size)));
}

// What the n-th word of a block must be: no two blocks and generations have one in common.
constexpr std::uint64_t word_of(std::uint64_t block, std::uint32_t generation, std::size_t n) {
  return (block << 40) ^ (static_cast<std::uint64_t>(generation) << 12) ^ n;
}

constexpr std::size_t words = DiskLoad::block_size / sizeof(std::uint64_t);

}  // namespace

DiskLoad::DiskLoad(std::string path, std::uint64_t size_bytes)
    : path_(std::move(path)), generations_(size_bytes / block_size, 0) {
  for (unsigned worker = 0; worker < workers; ++worker)
    threads_.emplace_back([this, worker] {
      try {
        work(worker);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex_);
        if (failure_.empty()) failure_ = error.what();
      }
    });
}

DiskLoad::~DiskLoad() { stop(); }

void DiskLoad::stop() {
  stopped_.store(true);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void DiskLoad::work(unsigned worker) {
  const File disk = File::open(path_, O_RDWR | O_DIRECT);
  const auto buffer = make_buffer(block_size);
  auto* const content = reinterpret_cast<std::uint64_t*>(buffer.get());
  std::mt19937 random(worker);
  const std::uint64_t own_blocks = generations_.size() / workers;
  while (!stopped_.load()) {
    const std::uint64_t block = random() % own_blocks * workers + worker;
    if (generations_[block] > 0 && random() % 2 == 0) {
      disk.read(content, block_size, block * block_size);
      check_block(buffer.get(), block);
    } else {
      const std::uint32_t generation = generations_[block] + 1;
      for (std::size_t n = 0; n < words; ++n) content[n] = word_of(block, generation, n);
      disk.write(content, block_size, block * block_size);
      generations_[block] = generation;
    }
    count_.fetch_add(1);
  }
}

void DiskLoad::check_block(const std::byte* content, std::uint64_t block) const {
  const auto* const found = reinterpret_cast<const std::uint64_t*>(content);
  for (std::size_t n = 0; n < words; ++n)
    if (found[n] != word_of(block, generations_[block], n))
      throw Error(EIO,
                  "block " + std::to_string(block) + " of " + path_ + " is not as it was written");
}

void DiskLoad::throw_if_failed() {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) throw Error(EIO, failure_);
}

void DiskLoad::wait_for_progress(std::uint64_t requests, unsigned seconds) {
  const std::uint64_t goal = count() + requests;
  const auto deadline = Clock::now() + std::chrono::seconds(seconds);
  while (count() < goal) {
    throw_if_failed();
    if (Clock::now() > deadline) throw Error(ETIMEDOUT, path_ + " has come to a stop");
    std::this_thread::sleep_for(20ms);
  }
}

void DiskLoad::stop_and_verify() {
  stop();
  throw_if_failed();
  const File disk = File::open(path_, O_RDONLY | O_DIRECT);
  constexpr std::uint64_t blocks_at_once = 64;
  const auto buffer = make_buffer(blocks_at_once * block_size);
  for (std::uint64_t first = 0; first < generations_.size(); first += blocks_at_once) {
    const std::uint64_t count = std::min(blocks_at_once, generations_.size() - first);
    disk.read(buffer.get(), count * block_size, first * block_size);
    for (std::uint64_t i = 0; i < count; ++i)
      if (generations_[first + i] > 0) check_block(buffer.get() + i * block_size, first + i);
  }
}

}  // namespace plydisk::test
