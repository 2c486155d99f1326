// The one grammar for names that come from users, stations and the network, and the export names
// made of them. A name that passes is safe as one component of a path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

// The text in double quotes for a sentence: unprintable characters as \xNN, cut when it is long.
std::string quote(std::string_view text);
// The part of a sentence that names the candidates most like `name`: `; did you mean "x"?`; with
// none alike, `; there are: "a", "b"`; with none at all, empty.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

// 1 to 64 characters of [A-Za-z0-9._-], first one a letter or a digit, no "..".
bool is_valid_name(std::string_view name);
// Throws Error(EINVAL) with a sentence such as
//   the image name "a/b" is not valid: use 1 to 64 letters, digits, "." "_" "-", …
// `what` is "image", "station" or "session". Unprintable characters in the name are shown escaped.
void require_valid_name(std::string_view what, std::string_view name);

// IMAGE[:VERSION][@STATION[+SESSION[.EPOCH[.r]]]]
struct ExportName {
  std::string image;                // empty: the only image of the store
  std::optional<unsigned> version;  // from 1; none: the published one
  std::optional<std::string> station;
  std::optional<std::string> session;  // a token that the client made, same grammar as a name
  // Of the client's connections: those of a lower one are not to write any more.
  std::optional<std::uint64_t> epoch;
  bool resumes = false;  // the client has written in this session: it must not begin another one
};
// Throws Error(EINVAL). An empty text, and "@STATION", give an empty image.
ExportName parse_export_name(std::string_view text);
std::string to_string(const ExportName& name);

// An IPv4 or IPv6 network. `text` is ADDRESS[/BITS]; throws Error(EINVAL).
void require_valid_cidr(std::string_view text);
// Whether `address` (numeric IPv4 or IPv6; IPv4-mapped IPv6 counts as IPv4) lies in the network.
bool cidr_contains(std::string_view cidr, std::string_view address);
// Whether the network is one address alone (/32, /128 or no /BITS).
bool cidr_is_host(std::string_view cidr);

}  // namespace plydisk
