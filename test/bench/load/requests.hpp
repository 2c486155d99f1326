// Which requests a connection sends. Two streams made with the same options and the same number of
// connection give the same requests in the same order, so that every server gets the same history.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "options.hpp"

namespace bench {

struct Request {
  bool write = false;
  std::uint64_t offset = 0;  // bytes
};

// All blocks of a disk in a random order.
using Permutation = std::shared_ptr<const std::vector<std::uint32_t>>;
Permutation make_permutation(std::uint64_t blocks, std::uint64_t seed);

class RequestStream {
 public:
  // `permutation` is for Pattern::once alone.
  RequestStream(const Options& options, std::uint64_t disk_bytes, unsigned connection,
                Permutation permutation);
  // Throws std::runtime_error when Pattern::once has no block left.
  Request next();

 private:
  std::uint64_t pick(std::uint64_t first, std::uint64_t count);

  const Options& options_;
  std::uint64_t blocks_;
  std::uint64_t own_first_ = 0, own_count_;  // blocks that this connection may write
  std::uint64_t position_;
  Permutation permutation_;
  std::minstd_rand mixer_;
  std::mt19937_64 random_;
};

// Fills `data`, which is to be written at `offset`, such that it depends on where it is alone.
void fill(std::vector<char>& data, std::uint64_t seed);
void stamp(std::vector<char>& data, std::uint64_t offset);

}  // namespace bench
