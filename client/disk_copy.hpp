// Copies of whole disks, out of a store. Functions throw Error. Thread safety: one thread.
#pragma once

#include "base/file.hpp"
#include "base/progress.hpp"
#include "control/store_caller.hpp"

namespace plydisk {

// Into a file, or onto a block device, from its beginning. `is_empty`: it reads as zeros, so what
// the disk has no data for is left out. Nothing is synced.
void copy_disk(OpenDisk& disk, const File& to, bool is_empty, const Progress& progress);
// Into a pipe, or whatever else a descriptor is, in order.
void stream_disk(OpenDisk& disk, int descriptor, const Progress& progress);

}  // namespace plydisk
