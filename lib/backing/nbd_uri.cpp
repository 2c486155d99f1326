#include "backing/nbd_uri.hpp"

#include <algorithm>
#include <array>

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

}  // namespace plydisk
