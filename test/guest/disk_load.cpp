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

constexpr std::size_t words_in_block = DiskLoad::block_size / sizeof(std::uint64_t);

void fill_block(std::uint64_t* content, std::uint64_t block, std::uint32_t generation) {
  for (std::size_t n = 0; n < words_in_block; ++n) content[n] = word_of(block, generation, n);
}

void check_block(const std::string& path, const std::uint64_t* content, std::uint64_t block,
                 std::uint32_t generation) {
  for (std::size_t n = 0; n < words_in_block; ++n)
    if (content[n] != word_of(block, generation, n))
      throw Error(EIO,
                  "block " + std::to_string(block) + " of " + path + " is not as it was written");
}

// Past the page cache. Blocks of generation 0 have any content.
void check_blocks(const std::string& path, const std::vector<std::uint32_t>& generations) {
  const File disk = File::open(path, O_RDONLY | O_DIRECT);
  constexpr std::uint64_t blocks_at_once = 64;
  const auto buffer = make_buffer(blocks_at_once * DiskLoad::block_size);
  const auto* const content = reinterpret_cast<const std::uint64_t*>(buffer.get());
  for (std::uint64_t first = 0; first < generations.size(); first += blocks_at_once) {
    const std::uint64_t count = std::min(blocks_at_once, generations.size() - first);
    disk.read(buffer.get(), count * DiskLoad::block_size, first * DiskLoad::block_size);
    for (std::uint64_t i = 0; i < count; ++i)
      if (generations[first + i] > 0)
        check_block(path, content + i * words_in_block, first + i, generations[first + i]);
  }
}

}  // namespace

DiskLoad::DiskLoad(std::string path, std::uint64_t size_bytes, bool is_prepared)
    : path_(std::move(path)),
      generations_(size_bytes / block_size, is_prepared ? 1 : 0),
      is_prepared_(is_prepared) {
  start();
}

DiskLoad::~DiskLoad() { stop(); }

void DiskLoad::start() {
  stopped_.store(false);
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

void DiskLoad::stop() {
  stopped_.store(true);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void DiskLoad::work(unsigned worker) {
  const File disk = File::open(path_, O_RDWR | O_DIRECT);
  const auto buffer = make_buffer(block_size);
  auto* const content = reinterpret_cast<std::uint64_t*>(buffer.get());
  // Another order each time the threads are started.
  std::mt19937 random(static_cast<unsigned>(count()) + worker);
  const std::uint64_t own_blocks = generations_.size() / workers;
  const std::uint64_t written_blocks = is_prepared_ ? own_blocks / 2 : own_blocks;
  while (!stopped_.load()) {
    const std::uint64_t own_block = random() % own_blocks;
    const std::uint64_t block = own_block * workers + worker;
    const auto began = Clock::now();
    if (own_block >= written_blocks || (generations_[block] > 0 && random() % 2 == 0)) {
      disk.read(content, block_size, block * block_size);
      check_block(path_, content, block, generations_[block]);
    } else {
      const std::uint32_t generation = generations_[block] + 1;
      fill_block(content, block, generation);
      disk.write(content, block_size, block * block_size);
      generations_[block] = generation;
    }
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
    std::int64_t longest = longest_ms_.load();
    while (longest < took.count() && !longest_ms_.compare_exchange_weak(longest, took.count())) {
    }
    count_.fetch_add(1);
  }
}

std::chrono::milliseconds DiskLoad::take_longest() {
  return std::chrono::milliseconds(longest_ms_.exchange(0));
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
  check_blocks(path_, generations_);
}

void DiskLoad::verify() {
  stop_and_verify();
  start();
}

void DiskLoad::prepare(const std::string& path, std::uint64_t size_bytes,
                       std::uint32_t generation) {
  const File file = File::open(path, O_RDWR | O_CREAT | O_TRUNC);
  const auto buffer = make_buffer(block_size);
  for (std::uint64_t block = 0; block < size_bytes / block_size; ++block) {
    fill_block(reinterpret_cast<std::uint64_t*>(buffer.get()), block, generation);
    file.write(buffer.get(), block_size, block * block_size);
  }
}

void DiskLoad::check(const std::string& path, std::uint64_t size_bytes, std::uint32_t generation) {
  check_blocks(path, std::vector(size_bytes / block_size, generation));
}

}  // namespace plydisk::test
