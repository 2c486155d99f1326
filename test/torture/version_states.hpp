// Checks of a store that a crash may have left while a verb was under way.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "version_scenarios.hpp"

namespace plydisk::torture {

// What may be found: this, and nothing in between.
struct VersionState {
  std::string picture;  // of the catalogue, as picture_of() draws it
  VersionModel model;
};

// Images, versions, stations, sessions, and what no record speaks of; without names that were drawn
// at random, times, and how many layers a session has, which its station does not see.
std::string picture_of(Store& store);

struct VersionCheck {
  // Null if it is too late for that state.
  const VersionState* before = nullptr;
  const VersionState* after = nullptr;
  std::string boot;  // another one than that in which the crash came, or that one
  bool rebooted = true;
  // Also compares all versions with their hashes, gives the verb again if it has not been done, and
  // looks once more.
  bool thorough = false;
};

// Opens the store, and returns what is wrong, a sentence or a paragraph each.
std::vector<std::string> check_version_state(const std::filesystem::path& folder,
                                             const VersionScenario& scenario,
                                             const VersionCheck& check);

}  // namespace plydisk::torture
