// Checks of a store that a power cut may have left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "recorder.hpp"
#include "sector_model.hpp"

namespace plydisk::torture {

// Opens the store as after a reboot, and returns what is wrong, a sentence or a paragraph each.
// `go_on`: also uses it for a while, reboots once more, and checks again.
std::vector<std::string> check_state(const std::filesystem::path& store, const SectorModel& model,
                                     std::uint64_t cut, bool go_on, std::uint64_t seed);

// Whether the log leads to what is really there: names the files of which it does not. Chunk maps
// and the lock are not recorded.
std::vector<std::string> compare_with_log(const Recorder& recorder,
                                          const std::filesystem::path& scratch);

}  // namespace plydisk::torture
