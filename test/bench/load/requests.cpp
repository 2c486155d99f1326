#include "requests.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

namespace bench {

Permutation make_permutation(std::uint64_t blocks, std::uint64_t seed) {
  auto order = std::make_shared<std::vector<std::uint32_t>>(blocks);
  std::iota(order->begin(), order->end(), 0U);
  std::mt19937_64 random(seed);
  std::shuffle(order->begin(), order->end(), random);
  return order;
}

RequestStream::RequestStream(const Options& options, std::uint64_t disk_bytes, unsigned connection,
                             Permutation permutation)
    : options_(options),
      blocks_(disk_bytes / options.block),
      own_count_(blocks_),
      permutation_(std::move(permutation)),
      mixer_(static_cast<unsigned>(options.seed * 7919 + connection)),
      random_(options.seed * 1000003 + connection) {
  if (options.own_region != 0) {
    own_count_ = options.own_region / options.block;
    own_first_ = connection * own_count_;
    if (own_count_ == 0 || own_first_ + own_count_ > blocks_) {
      throw std::runtime_error("the disk is too small for a region of its own for each connection");
    }
  }
  if (blocks_ == 0) throw std::runtime_error("the disk is smaller than one request");
  position_ = options.pattern == Pattern::once ? options.skip : random_() % blocks_;
}

std::uint64_t RequestStream::pick(std::uint64_t first, std::uint64_t count) {
  switch (options_.pattern) {
    case Pattern::random:
      return first + random_() % count;
    case Pattern::sequential:
      return first + position_++ % count;
    case Pattern::once:
      break;
  }
  if (position_ >= permutation_->size()) {
    throw std::runtime_error("every block was written once: give fewer rounds or a larger disk");
  }
  return (*permutation_)[position_++];
}

Request RequestStream::next() {
  Request request;
  request.write = options_.operation != Operation::read;
  if (options_.operation == Operation::mixed) request.write = mixer_() % 10 < 3;
  const std::uint64_t block = request.write ? pick(own_first_, own_count_) : pick(0, blocks_);
  request.offset = block * options_.block;
  return request;
}

void fill(std::vector<char>& data, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i + 8 <= data.size(); i += 8) {
    // Every sector of every block size gets the same bytes, whichever request writes it.
    if (i % 512 == 0) random.seed(seed);
    const std::uint64_t word = random();
    std::memcpy(&data[i], &word, 8);
  }
}

void stamp(std::vector<char>& data, std::uint64_t offset) {
  for (std::size_t i = 0; i + 8 <= data.size(); i += 4096) {
    const std::uint64_t where = offset + i;
    std::memcpy(&data[i], &where, 8);
  }
}

}  // namespace bench
