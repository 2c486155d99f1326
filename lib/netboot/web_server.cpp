#include "netboot/web_server.hpp"

#include <regex>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

constexpr unsigned http_port = 80, last_port = 65535;

}  // namespace

std::string WebServer::url() const {
  return "http://" + host + (port == http_port ? "" : ":" + std::to_string(port)) + path;
}

WebServer parse_web_server(const std::string& url) {
  static const std::regex form(
      R"(http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{1,5}))?((/[A-Za-z0-9._~-]+)*)/?)");
  std::smatch parts;
  const bool fits = std::regex_match(url, parts, form);
  const unsigned port =
      fits && parts[3].matched ? static_cast<unsigned>(std::stoul(parts[3])) : http_port;
  if (!fits || port == 0 || port > last_port)
    throw Error(EINVAL, "the web server " + quote(url) +
                            " is not valid: use a URL without special characters, such as "
                            "http://192.0.2.1 or http://192.0.2.1:8080/netboot");
  return {parts[1], port, parts[4]};
}

}  // namespace plydisk
