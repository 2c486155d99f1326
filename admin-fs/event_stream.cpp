#include "event_stream.hpp"

#include <ctime>

#include "base/error.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr std::size_t most_kept = 4 << 20;  // bytes

}  // namespace

// The caller holds mutex_.
void EventStream::catch_up() {
  json request{{"after", newest_}};
  if (!log_.empty()) request["log"] = log_;
  const json told = caller_.call("events", request);
  const bool is_first = log_.empty();
  log_ = told.at("log");
  if (!is_first && told.at("lost").get<bool>() && told.at("serving").get<bool>())
    text_ += R"({"topic":"server","event":"gap","detail":"the server has begun anew, or more has )"
             R"(happened than it keeps"})"
             "\n";
  if (told.at("lost").get<bool>()) newest_ = 0;
  for (const json& event : told.at("events")) {
    text_ += event.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    newest_ = event.at("number");
    changed_ = std::time(nullptr);
  }
  if (text_.size() <= most_kept) return;
  const std::size_t cut = text_.find('\n', text_.size() - most_kept / 2) + 1;
  text_.erase(0, cut);
  begin_ += cut;
}

std::uint64_t EventStream::size() {
  const std::lock_guard lock(mutex_);
  catch_up();
  return text_.size();
}

std::uint64_t EventStream::begin() {
  const std::lock_guard lock(mutex_);
  return begin_;
}

std::int64_t EventStream::changed() {
  const std::lock_guard lock(mutex_);
  return changed_;
}

std::size_t EventStream::read(char* buffer, std::size_t length, std::uint64_t place) {
  const std::lock_guard lock(mutex_);
  catch_up();
  if (place < begin_) throw Error(ESTALE, "these events are kept no longer: open the file again");
  if (place >= begin_ + text_.size()) return 0;
  return text_.copy(buffer, length, place - begin_);
}

}  // namespace plydisk
