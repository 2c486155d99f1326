// Bootable discs of versions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "command.hpp"

namespace plydisk {

struct DiscOptions {
  std::string what;    // IMAGE[:VERSION]
  std::string out;     // a file
  bool force = false;  // may replace a file
};

// Returns {image, version, out, label, kernel, arguments, remark, disk_size, size}; sizes are
// bytes, the latter of the file. Throws Error; ENOEXEC if the version's system does not boot so.
nlohmann::json make_disc(const Command& command, const DiscOptions& options);

}  // namespace plydisk
