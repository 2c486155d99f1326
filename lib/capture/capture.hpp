// Captures a disk: makes a plan, copies what is used, and compares the copy with the source. What
// was interrupted, by a power cut too, goes on where it was.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "capture/plan.hpp"

namespace plydisk {

struct CaptureOptions {
  std::string source;  // an absolute path, or an NBD URI
  // Where the copy goes: an NBD URI; empty: the file `disk` in `folder`.
  std::string to;
  // A folder of this capture's own: what tells how far it is lies there as `progress`.
  std::filesystem::path folder;
  std::vector<std::string> exclude;  // patterns of ext_excluded
  bool force = false;                // also what is in use or not clean
  bool verifies = true;
  bool restarts = false;  // from the beginning, whatever is there
  // Each with a sentence for the user, or the part of the work that begins: "copying".
  std::function<void(const std::string&)> note, begin;
  Progress progress;
  // Called once it is known what is copied, before anything is. May throw.
  std::function<void(const CaptureSource&, const CapturePlan&)> check;
};

struct CaptureResult {
  std::string source;  // as it may be shown
  std::uint64_t size = 0;
  CapturePlan plan;
  std::uint64_t continued_at = 0;  // the byte up to which an earlier capture had come
};

// Throws Error. After one, and after a crash, the same call goes on.
CaptureResult capture_disk(const CaptureOptions& options);

// Before the copy is changed: a capture that is interrupted from now on begins anew. Throws Error.
void forget_progress(const std::filesystem::path& folder);

}  // namespace plydisk
