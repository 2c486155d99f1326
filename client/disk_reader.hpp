// A disk of the store for what reads file systems.
#pragma once

#include "control/store_caller.hpp"
#include "filesystem/files.hpp"

namespace plydisk {

// The disk must be there as long as the reader is.
DiskReader reader_of(OpenDisk& disk);

}  // namespace plydisk
