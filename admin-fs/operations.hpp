// libfuse's table of operations over a Filesystem, which is the private data of the mount.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse.h>

namespace plydisk {

fuse_operations mount_operations();

}  // namespace plydisk
