// Checks of a store that a power cut may have left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sector_model.hpp"

namespace plydisk::torture {

// Opens the store as after a reboot, and returns what is wrong, a sentence or a paragraph each.
// `go_on`: also uses it for a while, reboots once more, and checks again.
std::vector<std::string> check_state(const std::filesystem::path& store, const SectorModel& model,
                                     std::uint64_t cut, bool go_on, std::uint64_t seed);

}  // namespace plydisk::torture
