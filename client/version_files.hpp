// Which files differ between two versions of an image.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "command.hpp"

namespace plydisk {

// Adds to the result of version.diff {"files": [{partition, change, path, type, size}], "unread":
// [{partition, reason}], "doubts": likewise}. Looked at in this process, since what a file system
// says of itself may be wrong in ways that nobody foresees.
void add_files(const Command& command, nlohmann::json& difference);
void print_files(const nlohmann::json& difference);

}  // namespace plydisk
