// The verbs of images and versions, each in a store in which it has something to do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "version_world.hpp"

namespace plydisk::torture {

struct VersionScenario {
  using Step = std::function<void(VersionWorld&)>;
  std::string name;
  Step prepare;  // the store is closed afterwards, and opened again
  Step go_live;  // sessions that run when the verb does; may be empty
  Step verb;     // can be given again after a crash, with sessions at rest that had been live
  // Else each sector may be as before or as after, while the power is cut in it.
  bool is_atomic = true;
};

std::vector<VersionScenario> version_scenarios();

}  // namespace plydisk::torture
