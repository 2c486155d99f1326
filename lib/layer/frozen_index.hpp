// The index of a frozen layer: the tables of SectorIndex, and once more the same in a form that is
// read ten times as fast, since a version of dozens of layers is opened while a station waits.
//
//   packed(first, chunks)   runs of rows of `chunk`, in order: the first one's number, and for each
//                           a byte of flags (1: `valid` follows, 2: `zero` follows; NULL if not),
//                           how much larger its number is than the one before (LEB128), and those
//                           sets
//
// It is made when the layer is frozen, and gone while the layer is written.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "layer/sector_index.hpp"

namespace plydisk {

// `disk_size` in bytes.
void pack_index(Database& db, std::uint64_t disk_size);
void unpack_index(Database& db);

// Reads the packed form without writing to the file or its folder. Throws Error: EUCLEAN for one
// that SQLite's quick_check finds damaged, or another layer's; what fn throws.
void load_frozen_index(const std::filesystem::path& path, const LayerIdentity& identity,
                       const std::function<void(const ChunkChange&)>& fn);

// SQLite's integrity check, and whether both forms say the same: sentences about faults.
std::vector<std::string> check_frozen_index(const std::filesystem::path& path,
                                            const LayerIdentity& identity);

}  // namespace plydisk
