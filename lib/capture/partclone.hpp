// Maps of file systems by partclone, which knows many.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "capture/ranges.hpp"

namespace plydisk {

// The program for a type as libblkid calls it; none for those that are not left to partclone.
std::optional<std::string> partclone_program(std::string_view type);

// The free bytes of the disk, of a file system that begins at byte `begin` of it, and which the
// program reads at `path`. Throws Error: ENOENT if there is no such program, EIO if it fails.
Ranges partclone_free(const std::string& program, const std::string& path, std::uint64_t begin);

// The same out of the program's answer, a domain file as of ddrescue; EIO if it is none.
Ranges free_in_domain(const std::string& domain);

}  // namespace plydisk
