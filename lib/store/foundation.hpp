// What a station's own layers lie on at its server.
#pragma once

#include <string>
#include <string_view>

#include "store/destination.hpp"

namespace plydisk {

struct Passed;
struct SessionRecord;

// Writers are known by names that they make up, at random: a station's store for each session, and
// for each attempt to carry its layers to the server.
struct Foundation {
  std::string image_writer;  // the last one who wrote the image directly; empty: nobody
  std::string session;       // id of the session that has persistent layers there; empty: none
  std::string writer;        // the last one who wrote to those
  bool operator==(const Foundation&) const = default;
};

std::string to_string(const Foundation& foundation);
// Throws Error(EINVAL) for what to_string() does not make.
Foundation parse_foundation(std::string_view text);

// Whether the layers that a station's session has left can be read above what is there now.
enum class Fit {
  fits,     // nobody else has written there since the session began
  carried,  // the server has taken over all that is in them
  differs,
};
Fit compare(const SessionRecord& left, const Foundation& now);
// Whether there can be what was passed on past a layer that the session has left. What an earlier
// session of the station passed on was there when this one began, so that compare() tells.
bool may_hold(const Foundation& now, const SessionRecord& left, const Passed& passed);

}  // namespace plydisk
