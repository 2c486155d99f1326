// Whether a disk would be captured into itself, as far as that can be seen from here.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.hpp"

namespace plydisk {

// Whether a server behind the Unix socket of this NBD URI has the file or device open for writing;
// false for other URIs, and where this process may not look.
bool is_written_by_server_of(const std::string& uri, const File& file);

}  // namespace plydisk
