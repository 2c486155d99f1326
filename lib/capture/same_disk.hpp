// Whether a disk would be written over that is read, as far as that can be seen from here.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "base/file.hpp"

namespace plydisk {

// Whether both are one file, or nodes of one block device.
bool is_same_disk(const struct stat& one, const struct stat& other);

// Whether a server behind the Unix socket of this NBD URI has the file or device open for writing;
// false for other URIs, and where this process may not look.
bool is_written_by_server_of(const std::string& uri, const File& file);

}  // namespace plydisk
