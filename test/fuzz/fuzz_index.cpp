// A layer's index file that somebody damaged: it opens, or is refused with an error. Never a crash,
// and never a chunk past the disk's end.
#include <fcntl.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "base/file.hpp"
#include "layer/frozen_index.hpp"
#include "temporary_directory.hpp"

namespace {

const plydisk::LayerIdentity identity{"11111111-2222-4333-8444-555555555555", "", 1 << 20};

struct Target {
  plydisk::test::TemporaryDirectory folder;
  const std::filesystem::path sound = folder.path() / "sound.sqlite";
  const std::filesystem::path damaged = folder.path() / "damaged.sqlite";
  Target() {
    plydisk::SectorIndex::create(sound, identity, plydisk::Durability::process);
    plydisk::SectorIndex index(sound, identity, plydisk::Durability::process);
    const plydisk::ChunkChange change{3, {plydisk::SectorSet::range(1, 9), {}}};
    index.commit({&change, 1}, {}, false);
    index.finish();
  }
};

}  // namespace

// The input is a list of damages: two bytes of place, one of value.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Target target;
  std::filesystem::copy_file(target.sound, target.damaged,
                             std::filesystem::copy_options::overwrite_existing);
  {
    const auto file = plydisk::File::open(target.damaged, O_RDWR);
    const std::uint64_t length = file.size();
    for (std::size_t i = 0; i + 3 <= size; i += 3)
      file.write(data + i + 2, 1, (data[i] * 256U + data[i + 1]) % length);
  }
  try {
    plydisk::load_frozen_index(target.damaged, identity, [](const plydisk::ChunkChange& row) {
      if (row.chunk >= plydisk::chunk_count(identity.disk_size)) std::abort();
    });
  } catch (const plydisk::Error&) {
    // Refused, with a sentence.
  }
  return 0;
}
