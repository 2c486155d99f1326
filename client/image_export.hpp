// Whole disks out of a store, as files of several formats.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "command.hpp"

namespace plydisk {

struct ExportOptions {
  std::string what;    // IMAGE[:VERSION], or a session
  std::string out;     // a file, a block device, or "-" for standard output
  std::string format;  // empty: as the name of `out` says
  bool force = false;  // may replace a file, or overwrite a block device
};

// Returns {image, version, session, out, format, size}. Throws Error; UsageError for options that
// do not go together.
nlohmann::json export_disk(const Command& command, const ExportOptions& options);

// Throws Error(EBUSY) if writing there would overwrite what the store has its images in.
void require_not_of_store(const Command& command, const std::filesystem::path& out);

}  // namespace plydisk
