// NBD URIs: nbd://SERVER/EXPORT, nbds://…, nbd+unix:///EXPORT?socket=PATH, nbds+unix://…
#pragma once

#include <string>
#include <string_view>

namespace plydisk {

bool is_nbd_uri(std::string_view text);
// The export's name; empty if there is none.
std::string export_of(const std::string& uri);
// The URI with another export's name.
std::string with_export(const std::string& uri, const std::string& name);

}  // namespace plydisk
