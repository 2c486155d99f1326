// Making one frozen layer of several that lie one on another.
//
// The merged layer's data file is the newest one's, under a second name (a hard link), with the
// sectors that only the older ones hold copied into places that the newest does not hold. Nobody
// reads those places through the newest layer, so versions that have the layers go on being read
// meanwhile and afterwards, and a crash at any point leaves them as they were.
#pragma once

#include <cstdint>
#include <vector>

#include "base/progress.hpp"
#include "stack/version.hpp"

namespace plydisk {

// Makes the folder of `out` with a frozen layer that holds what `layers` (oldest first, at least
// two) hold, the newest copy of each sector; durable when it returns. Hashes are merged too, if all
// have them. Returns the bytes of data copied. Throws Error; the caller then removes the folder,
// and frees what the newest of `layers` does not use.
std::uint64_t merge_layers(const std::vector<Version::FrozenLayer>& layers,
                           const Version::FrozenLayer& out, const Progress& progress);

// Gives back what a frozen layer's data file has where its index has nothing: what a merge has left
// there that came to no end. Returns the bytes; `dry_run`: that there would be. Nothing if the file
// has several names, since the other one's index may have more. Not to be called while the layer is
// being merged. Throws Error.
std::uint64_t free_unused(const Version::FrozenLayer& layer, bool dry_run);

}  // namespace plydisk
