// The store's parameters: each has a name, a default, a unit and a sentence.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "multicast/terms.hpp"

namespace plydisk {

struct ParameterSpec {
  const char* name;           // "session-grace"
  const char* default_value;  // "30"
  const char* unit;           // "seconds", or "" for words
  const char* help;           // one sentence, for `param list` and the manual page
  // Throws Error(EINVAL) with a sentence if the value is not one that this parameter takes.
  void (*check)(std::string_view value);
  bool of_image = false;  // whether an image may have a value of its own
};

// All parameters, ordered by name.
std::span<const ParameterSpec> parameter_specs();
// Throws Error(ENOENT) naming the nearest parameter.
const ParameterSpec& parameter_spec(std::string_view name);

// What the parameters named multicast… say together; `value` gives the value of each.
MulticastTerms multicast_terms(const std::function<std::string(const char* name)>& value);

}  // namespace plydisk
