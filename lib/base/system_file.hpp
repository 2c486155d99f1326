// The one-line files of /proc and /sys.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace plydisk {

// Its line; nothing if it is not there, or went away.
inline std::optional<std::string> read_if_there(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  if (!in) return {};
  std::getline(in, line);
  return line;
}

}  // namespace plydisk
