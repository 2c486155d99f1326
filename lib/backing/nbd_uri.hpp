// NBD URIs: nbd://SERVER/EXPORT, nbds://…, nbd+unix:///EXPORT?socket=PATH, nbds+unix://…
#pragma once

#include <string>
#include <string_view>

namespace plydisk {

bool is_nbd_uri(std::string_view text);
// Of the export "" on a Unix socket.
std::string unix_nbd_uri(const std::string& socket);
// The export's name; empty if there is none.
std::string export_of(const std::string& uri);
// The URI as it may be shown: without the token behind the export's name. Other texts as they are.
std::string without_token(const std::string& uri);
// The URI with another export's name.
std::string with_export(const std::string& uri, const std::string& name);

// The path of the Unix socket; empty if the URI is of another kind.
std::string nbd_socket(const std::string& uri);
// Whether both name one export, in spite of another spelling. False does not say that they don't.
bool is_same_export(const std::string& one, const std::string& other);

struct TlsOptions {
  std::string certificates;  // a folder, as libnbd's tls-certificates; for X.509
  std::string psk;           // a file of lines USER:KEY, for pre-shared keys
  std::string user;          // which of them
  bool is_set() const { return !certificates.empty() || !psk.empty() || !user.empty(); }
};
// The URI with TLS, if any option is set. Throws Error(EINVAL) for options that don't go together,
// or with the URI.
std::string with_tls(const std::string& uri, const TlsOptions& options);

}  // namespace plydisk
