// What can be seen of file systems that others' programs map: whether the map that they would give
// can be believed.
#pragma once

#include <string>

#include "capture/disk_layout.hpp"

namespace plydisk {

// Why the file system's notes of what is free can't be believed, or not by one partition alone; a
// sentence without a subject, such as "was not unmounted". Empty: they can. These look at the
// file system that lies in the range; damaged ones are in trouble. They throw what `read` throws.
std::string ntfs_trouble(const ReadDisk& read, Range range);
std::string fat_trouble(const ReadDisk& read, Range range);
std::string btrfs_trouble(const ReadDisk& read, Range range);

// These look with programs at the device or file `path`. They throw Error(ENOENT) without the
// program.
std::string xfs_trouble(const std::string& path);
std::string ntfs_hibernation(const std::string& path);

}  // namespace plydisk
