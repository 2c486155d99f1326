// Whether a Recorder saw everything.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recorder.hpp"

namespace plydisk::torture {

// Whether the log leads to what is really there: names the files of which it does not. Chunk maps
// and the lock are not recorded.
std::vector<std::string> compare_with_log(const Recorder& recorder,
                                          const std::filesystem::path& scratch);

}  // namespace plydisk::torture
