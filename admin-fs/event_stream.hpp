// The server's events as one text that grows, a JSON object a line.
//
// Thread safety: all functions from any thread. Functions throw Error, as StoreCaller::call().
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "control/store_caller.hpp"

namespace plydisk {

class EventStream {
 public:
  explicit EventStream(StoreCaller& caller) : caller_(caller) {}

  // Bytes that are kept, and where they begin among all since the mount was made.
  std::uint64_t size();
  std::uint64_t begin();
  // When the newest happened, in seconds since 1970; 0: none yet.
  std::int64_t changed();
  // Reads at a place among all; ESTALE if that is kept no longer.
  std::size_t read(char* buffer, std::size_t length, std::uint64_t place);

 private:
  void catch_up();

  StoreCaller& caller_;
  std::mutex mutex_;  // protects all below
  std::string log_;
  std::uint64_t newest_ = 0;
  std::uint64_t begin_ = 0;
  std::string text_;
  std::int64_t changed_ = 0;
};

}  // namespace plydisk
