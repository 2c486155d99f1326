#include "backing/nbd_uri.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.hpp"

namespace plydisk {

namespace {

struct Parts {
  std::string server, name, query;
};

Parts split(const std::string& uri) {
  const auto query = std::min(uri.find('?'), uri.size());
  const auto scheme = uri.find("://");
  const auto path = std::min(uri.find('/', scheme == std::string::npos ? 0 : scheme + 3), query);
  const auto name = std::min(path + 1, query);
  return {uri.substr(0, path), uri.substr(name, query - name), uri.substr(query)};
}

std::string percent_encoded(const std::string& text) {
  static constexpr const char* digits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~/").find(c) != std::string_view::npos)
      encoded += c;
    else
      encoded += {'%', digits[byte >> 4], digits[byte & 15]};
  }
  return encoded;
}

}  // namespace

bool is_nbd_uri(std::string_view text) {
  static constexpr std::array<std::string_view, 4> schemes{"nbd://", "nbds://", "nbd+unix://",
                                                           "nbds+unix://"};
  return std::any_of(schemes.begin(), schemes.end(),
                     [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::string export_of(const std::string& uri) { return split(uri).name; }

std::string with_export(const std::string& uri, const std::string& name) {
  const Parts parts = split(uri);
  return parts.server + "/" + name + parts.query;
}

std::string without_token(const std::string& uri) {
  if (!is_nbd_uri(uri)) return uri;
  const std::string name = export_of(uri);
  return with_export(uri, name.substr(0, name.find('+')));
}

std::string with_tls(const std::string& uri, const TlsOptions& options) {
  if (options.certificates.empty() && options.psk.empty()) return uri;
  if (!options.certificates.empty() && !options.psk.empty())
    throw Error(EINVAL, "TLS uses either certificates or a pre-shared key");
  const auto scheme = uri.find("://");
  const std::string family = uri.substr(0, uri.find_first_of(":+"));
  std::string server = uri.substr(scheme + 3);
  if (!options.psk.empty()) {
    if (server.substr(0, server.find('/')).find('@') != std::string::npos)
      throw Error(EINVAL, "the URI names a user already: " + uri);
    server = percent_encoded(options.user) + "@" + server;
  }
  return "nbds" + uri.substr(family.size(), scheme - family.size()) + "://" + server +
         (uri.find('?') == std::string::npos ? "?" : "&") +
         (options.psk.empty() ? "tls-certificates=" + percent_encoded(options.certificates)
                              : "tls-psk-file=" + percent_encoded(options.psk));
}

}  // namespace plydisk
