// Where a session's writes go.
#pragma once

#include <string>
#include <string_view>

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

}  // namespace plydisk
