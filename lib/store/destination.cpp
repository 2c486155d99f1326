#include "store/destination.hpp"

#include <array>
#include <utility>

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

}  // namespace plydisk
