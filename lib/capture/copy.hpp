// Copies what is used of a disk, and compares the copy with it.
#pragma once

#include <functional>

#include "base/progress.hpp"
#include "capture/ranges.hpp"
#include "capture/source.hpp"
#include "capture/target.hpp"

namespace plydisk {

// Copies the used ranges from byte `done` on; all else there reads as zeros then. All is durable
// when it returns. `reached` is called now and then, from another thread, with the byte up to which
// the copy is durable, also before it throws. `progress` counts used bytes. Throws Error.
void copy_disk(const CaptureSource& source, const Ranges& used, CaptureTarget& target,
               std::uint64_t done, const std::function<void(std::uint64_t)>& reached,
               const Progress& progress);

// What differs in the copy.
class Mismatch : public Error {
 public:
  using Error::Error;
};

// Compares all used ranges. Throws Mismatch, which names the first range that differs; other Errors
// if they can't be read.
void verify_disk(const CaptureSource& source, const Ranges& used, CaptureTarget& target,
                 const Progress& progress);

}  // namespace plydisk
