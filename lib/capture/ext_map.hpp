// What an ext2, ext3 or ext4 file system uses, and what files of it are to be left out.
#pragma once

#include <string>
#include <vector>

#include "capture/ranges.hpp"
#include "filesystem/ext_io.hpp"

namespace plydisk {

// Why the bitmaps on the disk can't be believed: a sentence without a subject, such as "was not
// unmounted"; empty if they can.
std::string ext_trouble(const ExtFileSystem& file_system);

// The bytes of the disk that are free, of a file system that begins at byte `begin`. What its
// bitmap has nothing to say about is not among them. Throws Error.
Ranges ext_free(const ExtFileSystem& file_system, std::uint64_t begin);

// The bytes of the disk that hold data of regular files whose paths match one of the patterns, and
// nothing else. A pattern with "/" is matched with the path from the root of the file system,
// others with the last component; "*" matches "/" too. A file with several names is left out if all
// of them match. Throws Error.
struct ExtExcluded {
  Ranges data;
  unsigned files = 0;
};
ExtExcluded ext_excluded(const ExtFileSystem& file_system, std::uint64_t begin,
                         const std::vector<std::string>& patterns);

}  // namespace plydisk
