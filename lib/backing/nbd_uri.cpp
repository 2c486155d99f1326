#include "backing/nbd_uri.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>

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

std::string percent_decoded(const std::string& text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    const char* const digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// Where the server listens, in one spelling.
std::string address_of(const std::string& uri) {
  if (const std::string socket = nbd_socket(uri); !socket.empty()) {
    std::error_code failed;
    const auto path = std::filesystem::weakly_canonical(socket, failed);
    return failed ? socket : path.string();
  }
  std::string host = split(uri).server;
  host = host.substr(std::min(host.find("://") + 3, host.size()));
  host = host.substr(host.rfind('@') + 1);  // npos + 1 is its beginning
  for (char& c : host) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string port = ":10809";
  // Not a colon of an IPv6 address.
  if (const auto colon = host.rfind(':');
      colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    if (colon + 1 < host.size()) port = host.substr(colon);
    host.resize(colon);
  }
  if (host.empty() || host == "127.0.0.1" || host == "[::1]") host = "localhost";
  return host + port;
}

}  // namespace

bool is_nbd_uri(std::string_view text) {
  static constexpr std::array<std::string_view, 4> schemes{"nbd://", "nbds://", "nbd+unix://",
                                                           "nbds+unix://"};
  return std::any_of(schemes.begin(), schemes.end(),
                     [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::string unix_nbd_uri(const std::string& socket) {
  return "nbd+unix:///?socket=" + percent_encoded(socket);
}

std::string export_of(const std::string& uri) { return split(uri).name; }

std::string with_export(const std::string& uri, const std::string& name) {
  const Parts parts = split(uri);
  return parts.server + "/" + name + parts.query;
}

std::string nbd_socket(const std::string& uri) {
  if (!uri.starts_with("nbd+unix://") && !uri.starts_with("nbds+unix://")) return {};
  std::string query = split(uri).query;
  for (std::size_t begin = 1; begin < query.size();) {
    const auto end = std::min(query.find('&', begin), query.size());
    constexpr std::string_view key = "socket=";
    if (query.compare(begin, key.size(), key) == 0)
      return percent_decoded(query.substr(begin + key.size(), end - begin - key.size()));
    begin = end + 1;
  }
  return {};
}

bool is_same_export(const std::string& one, const std::string& other) {
  return is_nbd_uri(one) && is_nbd_uri(other) && address_of(one) == address_of(other) &&
         percent_decoded(export_of(one)) == percent_decoded(export_of(other));
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
