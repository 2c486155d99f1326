// The tables of a layer's index, as SectorIndex and the frozen index read them; for lib/layer
// alone.
#pragma once

#include <filesystem>
#include <functional>

#include "base/sqlite.hpp"
#include "layer/sector_index.hpp"

namespace plydisk {

inline constexpr int index_format = 1;

// Columns `column` and the next one, `valid` and `zero`.
ChunkState read_state(const Statement& row, int column);
// Throws EUCLEAN if the database is another layer's. `path`: for messages.
void check_identity(Database& db, const std::filesystem::path& path, const LayerIdentity& identity);
// The table `chunk`, in order.
void load_rows(Database& db, std::uint64_t disk_size,
               const std::function<void(const ChunkChange&)>& fn);

}  // namespace plydisk
