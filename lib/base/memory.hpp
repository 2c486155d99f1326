// How much memory the machine has.
#pragma once

#include <sys/sysinfo.h>

#include <cstdint>

namespace plydisk {

// Bytes.
inline std::uint64_t memory_of_machine() {
  struct sysinfo info {};
  ::sysinfo(&info);
  return std::uint64_t{info.totalram} * info.mem_unit;
}

}  // namespace plydisk
