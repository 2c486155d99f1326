// plydiskfs's command line.
#pragma once

#include <string>
#include <vector>

#include "tree.hpp"

namespace plydisk {

struct MountOptions {
  std::string store;         // its folder
  bool server_only = false;  // a control socket was named instead
  std::string mountpoint;
  bool foreground = false;
  Access access;
  std::vector<std::string> for_fuse;  // "-o" options that are libfuse's
};

// Parses the words behind the program's name. Throws Error(EINVAL) with a sentence. `help` and
// `version` are set if that is all that was asked for.
struct MountRequest {
  MountOptions options;
  bool help = false, version = false;
};
MountRequest parse_mount_options(const std::vector<std::string>& words);
const char* mount_help();

}  // namespace plydisk
