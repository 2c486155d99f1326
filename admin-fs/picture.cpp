#include "picture.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// A program that has seen a change made needs longer than this to look for it here.
constexpr std::chrono::milliseconds moment{2};

std::size_t index_of(Topic topic) { return static_cast<std::size_t>(topic); }

std::shared_ptr<const Names> read_names(const json& list) {
  auto names = std::make_shared<Names>();
  for (const json& record : list)
    (*names)[record.at("name").get<std::string>()] = {record.at("changed").get<std::int64_t>(),
                                                      record};
  return names;
}

}  // namespace

// Asks for the numbers of the newest changes, which costs the server next to nothing.
void Picture::forget_what_changed() {
  const auto now = std::chrono::steady_clock::now();
  std::uint64_t own_changes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (now - asked_ < moment) return;
    own_changes = own_changes_;
  }
  const json told = caller_.call("changes", json::object());
  State state{told.at("log").get<std::string>(), told.at("newest").get<std::uint64_t>(), {}};
  for (const Topic topic : all_topics)
    state.of_topic[index_of(topic)] = told.at(to_string(topic)).get<std::uint64_t>();
  const std::lock_guard lock(mutex_);
  // The answer may be from before a change that was made through this mount meanwhile.
  if (own_changes == own_changes_) asked_ = now;
  const bool is_other = state.log != state_.log;
  // Another thread may have been told of more meanwhile.
  if (!is_other && state.newest < state_.newest) return;
  if (is_other || state.newest != state_.newest) details_.clear();
  for (const Topic topic : all_topics)
    if (is_other || state.of_topic[index_of(topic)] != state_.of_topic[index_of(topic)])
      names_[index_of(topic)].reset();
  state_ = state;
}

void Picture::note_change() {
  const std::lock_guard lock(mutex_);
  asked_ = {};
  ++own_changes_;
}

std::shared_ptr<const Names> Picture::names(Topic topic) {
  forget_what_changed();
  State before;
  {
    const std::lock_guard lock(mutex_);
    if (names_[index_of(topic)]) return names_[index_of(topic)];
    before = state_;
  }
  auto names = read_names(caller_.call("names", {{"topic", to_string(topic)}}));
  const std::lock_guard lock(mutex_);
  if (before.log == state_.log && before.newest == state_.newest) names_[index_of(topic)] = names;
  return names;
}

json Picture::fresh_details(Topic topic, const std::string& name) {
  switch (topic) {
    case Topic::parameters:
      return caller_.call("param.get", {{"name", name}});
    case Topic::images:
      return caller_.call("image.show", {{"name", name}});
    case Topic::stations:
      return caller_.call("station.show", {{"name", name}});
    case Topic::sessions:
      return caller_.call("session.show", {{"session", name}});
    case Topic::layers:
      break;
  }
  return caller_.call("layer.show", {{"layer", name}});
}

std::shared_ptr<const json> Picture::details(Topic topic, const std::string& name) {
  forget_what_changed();
  const auto key = std::make_pair(topic, name);
  State before;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = details_.find(key); known != details_.end()) return known->second;
    before = state_;
  }
  auto details = std::make_shared<const json>(fresh_details(topic, name));
  const std::lock_guard lock(mutex_);
  if (before.log == state_.log && before.newest == state_.newest) details_[key] = details;
  return details;
}

std::optional<std::string> Picture::find_session(const std::string& name) {
  const auto all = names(Topic::sessions);
  if (all->contains(name)) return name;
  std::optional<std::string> found;
  for (const auto& [id, session] : *all) {
    const std::string station = session.record.at("station");
    if (station.empty() ||
        (name != station && name != session.record.at("image").get<std::string>() + "@" + station))
      continue;
    if (found) return std::nullopt;
    found = id;
  }
  return found;
}

std::optional<std::string> Picture::session_of(const std::string& station) {
  const auto all = names(Topic::sessions);
  std::optional<std::string> found;
  std::pair<bool, std::int64_t> best;
  for (const auto& [id, session] : *all) {
    if (session.record.at("station") != station) continue;
    const std::pair<bool, std::int64_t> order{session.record.at("state") != "at-rest",
                                              session.record.at("started").get<std::int64_t>()};
    if (found && order <= best) continue;
    found = id;
    best = order;
  }
  return found;
}

}  // namespace plydisk
