// Where stations load what they boot by HTTP.
#pragma once

#include <string>

namespace plydisk {

struct WebServer {
  std::string host;  // "192.0.2.1", "boot.example.org", "[2001:db8::1]"
  unsigned port = 80;
  std::string path;         // of the folder tftp/: "" or "/netboot"
  std::string url() const;  // without a slash at its end
};

// "http://HOST[:PORT][/PATH]". Throws Error(EINVAL) for what iPXE or its scripts can't take.
WebServer parse_web_server(const std::string& url);

}  // namespace plydisk
