// Makes a captured copy bootable over the network. The source is only looked at.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "capture/plan.hpp"
#include "capture/source.hpp"

namespace plydisk {

class Adaptation {
 public:
  // Looks whether it can be done: finds the one Linux root, on ext4, and what it needs installed.
  // `uri` is what a station attaches, nbd://SERVER[:PORT]/EXPORT; `scripts` is the folder of
  // adapt-root. Throws Error with what to do.
  Adaptation(const CaptureSource& source, const CapturePlan& plan, std::string uri,
             std::filesystem::path scripts);

  // Changes the copy. Throws Error; the copy is half changed then.
  void run(const std::filesystem::path& disk) const;

 private:
  CapturePlan plan_;
  std::string uri_;
  std::filesystem::path scripts_;
  std::size_t root_ = 0;             // among the partitions
  std::optional<std::size_t> boot_;  // of /boot, if that is another one
};

}  // namespace plydisk
