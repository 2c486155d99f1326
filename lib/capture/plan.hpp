// What of a disk is to be copied, found out before anything is.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "capture/disk_layout.hpp"
#include "capture/source.hpp"

namespace plydisk {

struct PlannedPartition {
  unsigned number;         // 0: the disk has no partition table
  Range range;             // bytes
  std::string type, uuid;  // as of Partition
  // How the used blocks were found: "bitmap", "partclone", or "signature" of a swap; or "verbatim",
  // all of it.
  std::string method;
  std::uint64_t used;  // bytes that are copied
};

struct CapturePlan {
  std::string table;  // as of DiskLayout
  std::vector<PlannedPartition> partitions;
  Ranges used;  // what is copied; all else is zeros in the copy
  // The same if the same is to be copied from the same source.
  std::string digest;
};

struct PlanOptions {
  bool force = false;
  std::vector<std::string> exclude;  // patterns of ext_excluded
  // Called with a sentence for what the user should know. Null: nobody.
  std::function<void(const std::string&)> note;
};

// Throws Error: EUCLEAN if a file system was not unmounted cleanly, unless the source is a snapshot
// or `force` is set, which copy all of that partition, since its own map is not up to date.
// EOPNOTSUPP if `exclude` is set and there is no ext4 file system.
CapturePlan make_plan(CaptureSource& source, const PlanOptions& options);

}  // namespace plydisk
