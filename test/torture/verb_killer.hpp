// A verb in a process of its own, which is killed before a chosen change to durable storage: so
// that what a process leaves in its shared mappings is there too, as after a real kill -9.
#pragma once

#include <cstdint>
#include <filesystem>

#include "version_scenarios.hpp"

namespace plydisk::torture {

// Opens the store, lets the scenario's sessions run, and kills itself before change number `deadly`
// of the verb, from 0, or once that is done. Returns whether it was done. Throws if it failed. The
// caller has no threads, and no store open.
bool kill_in_verb(const VersionScenario& scenario, const std::filesystem::path& folder,
                  const std::string& boot, const VersionModel& model, std::uint64_t deadly);

}  // namespace plydisk::torture
