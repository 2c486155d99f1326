// Kernels by the names of their files.
#pragma once

#include <string>
#include <vector>

namespace plydisk {

// A kernel in a system's /boot, with its initial file system, if there is one.
struct Kernel {
  std::string version, kernel, initrd;
};

// Among the names of files in such a folder, by names alone; the newest first.
std::vector<Kernel> kernels_among(const std::vector<std::string>& names);

}  // namespace plydisk
