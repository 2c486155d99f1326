// How long work tells how far it is.
#pragma once

#include <cstdint>
#include <functional>

namespace plydisk {

// Called now and then with bytes done and bytes in all (0: not known).
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

}  // namespace plydisk
