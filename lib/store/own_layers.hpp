// What a station's own layers hold of its disk at one moment, and the server has not.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/units.hpp"

namespace plydisk {

struct Stack;

struct OwnLayers {
  // The layers, without a version below them. They stay as they are while this is kept.
  std::shared_ptr<const Stack> stack;
  // Of which sectors the newest copy is in them: data, and zeros. In order.
  struct Chunk {
    std::uint64_t number;
    SectorSet data, zeros;
  };
  std::vector<Chunk> chunks;
  std::uint64_t bytes = 0;  // of all these sectors
};

}  // namespace plydisk
