// What the commands among the files have told last, while the mount is there.
//
// Thread safety: all functions from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

namespace plydisk {

class Reports {
 public:
  static constexpr std::size_t most = 1000;  // of more, the oldest goes

  // `key`: of the file that has it.
  void keep(const std::string& key, nlohmann::json result);
  // Empty if there is none.
  std::string find(const std::string& key) const;

 private:
  struct Report {
    std::uint64_t number;
    std::string text;
  };
  mutable std::mutex mutex_;  // protects all below
  std::uint64_t newest_ = 0;
  std::map<std::string, Report> reports_;
};

}  // namespace plydisk
