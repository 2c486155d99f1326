// Images that are to be made: folders in which nothing is yet, until it is said what is to be in
// them. They live in memory.
//
// Thread safety: all functions from any thread.
#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <string>

namespace plydisk {

class NewImages {
 public:
  static constexpr std::size_t most = 1000;

  // Throws Error: EINVAL for what is no name, ENOSPC if there are too many.
  void add(const std::string& name);
  bool has(const std::string& name) const;
  void remove(const std::string& name);
  std::set<std::string> names() const;

 private:
  mutable std::mutex mutex_;  // protects the next
  std::set<std::string> names_;
};

}  // namespace plydisk
