// What there is in a store, as its server told last, and asked for anew when that has changed: so
// looking at a thousand sessions costs the server one list. Whether it has changed is asked for
// each time, but for what comes within a moment, as when a folder is listed; values are always
// fresh.
//
// Thread safety: all functions from any thread. Functions throw Error, as StoreCaller::call().
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "control/store_caller.hpp"

namespace plydisk {

struct Name {
  std::int64_t changed = 0;  // seconds since 1970
  nlohmann::json record;     // see `names` in control/service.hpp
};
using Names = std::map<std::string, Name>;

class Picture {
 public:
  explicit Picture(StoreCaller& caller) : caller_(caller) {}

  // Of all images, stations, …, as they are now.
  std::shared_ptr<const Names> names(Topic topic);
  // All that is known of one, as of the last change that was told of; ENOENT.
  std::shared_ptr<const nlohmann::json> details(Topic topic, const std::string& name);
  // As it is now, with what changes untold, as statistics do.
  nlohmann::json fresh_details(Topic topic, const std::string& name);
  // The id of a session that is called by its id, its station, or IMAGE@STATION; none if that means
  // none, or several.
  std::optional<std::string> find_session(const std::string& name);
  // The session that a station has, or else the one that it has left.
  std::optional<std::string> session_of(const std::string& station);
  // Something was changed through this mount, and is to be seen at once.
  void note_change();

 private:
  struct State {
    std::string log;
    std::uint64_t newest = 0;
    std::array<std::uint64_t, topic_count> of_topic{};
  };
  void forget_what_changed();

  StoreCaller& caller_;
  std::mutex mutex_;  // protects all below
  State state_;
  std::chrono::steady_clock::time_point asked_;
  std::uint64_t own_changes_ = 0;  // made through this mount
  std::array<std::shared_ptr<const Names>, topic_count> names_;
  std::map<std::pair<Topic, std::string>, std::shared_ptr<const nlohmann::json>> details_;
};

}  // namespace plydisk
