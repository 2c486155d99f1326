// NBD URIs: nbd://SERVER/EXPORT, nbds://…, nbd+unix:///EXPORT?socket=PATH, nbds+unix://…
#pragma once

#include <string>
#include <string_view>

namespace plydisk {

bool is_nbd_uri(std::string_view text);
// The export's name; empty if there is none.
std::string export_of(const std::string& uri);
// The URI as it may be shown: without the token behind the export's name. Other texts as they are.
std::string without_token(const std::string& uri);
// The URI with another export's name.
std::string with_export(const std::string& uri, const std::string& name);

struct TlsOptions {
  std::string certificates;  // a folder, as libnbd's tls-certificates; for X.509
  std::string psk;           // a file of lines USER:KEY, for pre-shared keys
  std::string user;          // which of them
};
// The URI with TLS, if any option is set. Throws Error(EINVAL) for options that don't go together,
// or with the URI.
std::string with_tls(const std::string& uri, const TlsOptions& options);

}  // namespace plydisk
