// The store's parameters: each has a name, a default, a unit and a sentence.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace plydisk {

struct ParameterSpec {
  const char* name;           // "session-grace"
  const char* default_value;  // "30"
  const char* unit;           // "seconds", or "" for words
  const char* help;           // one sentence, for `param list` and the manual page
  // Throws Error(EINVAL) with a sentence if the value is not one that this parameter takes.
  void (*check)(std::string_view value);
};

// All parameters, ordered by name:
//   boot-identity      hostname          hostname | mac | serial: what a station's name is made of
//                                        when it boots over the network
//   default-writes     server-volatile   where writes go if neither station nor image says
//   session-grace      30 seconds        0 … 86400; how long a session waits for its station
//   unknown-stations   local             local | allow | refuse: stations that were not added;
//                                        local allows peers on this machine alone
std::span<const ParameterSpec> parameter_specs();
// Throws Error(ENOENT) naming the nearest parameter.
const ParameterSpec& parameter_spec(std::string_view name);

}  // namespace plydisk
