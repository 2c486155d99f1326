// Random changes to a disk and to what is known of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "stack/disk.hpp"

namespace plydisk::torture {

// Writes sectors of this generation somewhere, or zeroes some, at most so many, in one request; and
// does the same to `content`, the whole disk's.
void change_sectors(Disk& disk, std::vector<std::byte>& content, std::mt19937_64& random,
                    std::uint64_t most, std::uint64_t generation);

}  // namespace plydisk::torture
