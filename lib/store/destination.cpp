#include "store/destination.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

constexpr std::array<std::pair<Destination, const char*>, 6> destination_names{{
    {Destination::direct, "direct"},
    {Destination::server_volatile, "server-volatile"},
    {Destination::server_persistent, "server-persistent"},
    {Destination::client_ram, "client-ram"},
    {Destination::client_volatile, "client-volatile"},
    {Destination::client_persistent, "client-persistent"},
}};

std::uint64_t parse_limit(std::string_view text) {
  const std::optional<std::uint64_t> bytes = parse_byte_size(text);
  if (!bytes || *bytes == 0 || *bytes > 1ULL << 60)
    throw Error(EINVAL, quote(text) +
                            " is not a size: use a number of bytes, or of K, M, G or T, as in "
                            "client-ram:2G");
  return *bytes;
}

std::string format_limit(std::uint64_t bytes) {
  std::size_t suffix = 0;
  for (; suffix < byte_size_suffixes.size() && bytes % 1024 == 0; ++suffix) bytes /= 1024;
  return std::to_string(bytes) +
         (suffix == 0 ? "" : std::string(1, byte_size_suffixes[suffix - 1]));
}

}  // namespace

const char* to_string(Destination destination) {
  for (const auto& [value, name] : destination_names)
    if (value == destination) return name;
  throw Error(EINVAL, "this is not a write destination");
}

Destination parse_destination(std::string_view text) {
  std::string known;
  for (const auto& [value, name] : destination_names) {
    if (text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(EINVAL, "there is no write destination " + quote(text) + ": use one of " + known);
}

bool is_persistent(Destination destination) {
  return destination == Destination::direct || destination == Destination::server_persistent ||
         destination == Destination::client_persistent;
}

bool is_at_client(Destination destination) {
  return destination == Destination::client_ram || destination == Destination::client_volatile ||
         destination == Destination::client_persistent;
}

WritePlan::WritePlan(std::string_view text) {
  while (true) {
    const auto comma = text.find(',');
    const std::string_view step = text.substr(0, comma);
    const auto colon = step.find(':');
    const Destination destination = parse_destination(step.substr(0, colon));
    if (find(destination) != nullptr)
      throw Error(EINVAL, std::string(to_string(destination)) +
                              " is named twice; a list names each write destination once");
    std::optional<std::uint64_t> limit;
    if (colon != std::string_view::npos) {
      limit = parse_limit(step.substr(colon + 1));
      if (destination == Destination::direct)
        throw Error(EINVAL,
                    "direct takes no size: what is written directly takes the image's room");
    }
    steps_.push_back({destination, limit});
    if (comma == std::string_view::npos) return;
    text.remove_prefix(comma + 1);
  }
}

const WritePlan::Step* WritePlan::find(Destination destination) const noexcept {
  const auto is_it = [&](const Step& step) { return step.destination == destination; };
  const auto found = std::find_if(steps_.begin(), steps_.end(), is_it);
  return found == steps_.end() ? nullptr : &*found;
}

const WritePlan::Step* WritePlan::after(Destination destination) const noexcept {
  const Step* const step = find(destination);
  return step == nullptr || step == &steps_.back() ? nullptr : step + 1;
}

std::string to_string(const WritePlan& plan) {
  std::string text;
  for (const auto& [destination, limit] : plan.steps()) {
    text += (text.empty() ? "" : ",") + std::string(to_string(destination));
    if (limit) text += ":" + format_limit(*limit);
  }
  return text;
}

WritePlan with_persistence(const WritePlan& plan, bool persistent) {
  const auto replaced = [&](Destination destination) {
    if (is_persistent(destination) == persistent) return destination;
    if (destination == Destination::direct)
      throw Error(EINVAL, "what is written directly is persistent: choose another destination");
    if (is_at_client(destination))
      return persistent ? Destination::client_persistent : Destination::client_volatile;
    return persistent ? Destination::server_persistent : Destination::server_volatile;
  };
  std::string text;
  std::vector<Destination> done;
  for (const auto& [destination, limit] : plan.steps()) {
    const Destination now = replaced(destination);
    if (std::find(done.begin(), done.end(), now) != done.end()) continue;
    done.push_back(now);
    text += (text.empty() ? "" : ",") + std::string(to_string(now));
    if (limit) text += ":" + format_limit(*limit);
  }
  return WritePlan(text);
}

void require_no_server_sizes(const WritePlan& plan, const std::string& station) {
  for (const auto& [destination, limit] : plan.steps())
    if (limit && !is_at_client(destination))
      throw Error(EINVAL,
                  "how much a server keeps of a session is set there, for instance with: "
                  "plydisk station set " +
                      station + " writes=" + to_string(destination) + ":" + format_limit(*limit) +
                      "; here " + to_string(destination) + " takes no size");
}

}  // namespace plydisk
