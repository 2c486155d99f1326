// Where a session's writes go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

enum class Destination {
  direct,
  server_volatile,
  server_persistent,
  client_ram,
  client_volatile,
  client_persistent,
};

// "direct", "server-volatile", …
const char* to_string(Destination destination);
// Throws Error(EINVAL) naming the destinations that there are.
Destination parse_destination(std::string_view text);
// True for those whose data outlives a reboot of the station: direct and …-persistent.
bool is_persistent(Destination destination);
// True for the three that lie at the station.
bool is_at_client(Destination destination);

// Where writes go, and where they go next when a place is full: "client-ram:2G,client-volatile".
class WritePlan {
 public:
  struct Step {
    Destination destination;
    std::optional<std::uint64_t> limit;  // bytes that its layers may take
    bool operator==(const Step&) const = default;
  };

  WritePlan(Destination destination)  // NOLINT: one destination is a plan
      : steps_{{destination, std::nullopt}} {}
  // DEST[:SIZE][,DEST[:SIZE]…], SIZE in bytes or with K, M, G or T behind it. Throws Error(EINVAL).
  explicit WritePlan(std::string_view text);

  const std::vector<Step>& steps() const noexcept { return steps_; }  // at least one
  Destination first() const noexcept { return steps_.front().destination; }
  // What the plan says of a destination; null if it is not in it.
  const Step* find(Destination destination) const noexcept;
  // Where to go when this one is full; null at the end, or if it is not in the plan.
  const Step* after(Destination destination) const noexcept;
  bool operator==(const WritePlan&) const = default;

 private:
  std::vector<Step> steps_;
};

std::string to_string(const WritePlan& plan);
// The same plan, each destination replaced by the one of its kind that is kept, or is not. Throws
// Error(EINVAL) for a volatile `direct`.
WritePlan with_persistence(const WritePlan& plan, bool persistent);
// Throws Error(EINVAL) if a station's own plan says how much its server may keep: that is for the
// server to say.
void require_no_server_sizes(const WritePlan& plan, const std::string& station);

}  // namespace plydisk
