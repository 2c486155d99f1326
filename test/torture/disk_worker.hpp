// Random requests to a part of a disk, each entered into a SectorModel, with every value that is
// read compared. Several workers can use one disk, each from its own thread on its own part.
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "recorder.hpp"
#include "sector_model.hpp"
#include "stack/disk.hpp"

namespace plydisk::torture {

// What workers of one disk share.
struct DiskUnderTest {
  Recorder& recorder;
  SectorModel& model;
  std::vector<std::byte> content;            // of the whole disk, as a reader must see it
  std::atomic<std::uint64_t> generation{2};  // 1 is the image's
};

struct SectorRange {
  std::uint64_t first, count;
};

class DiskWorker {
 public:
  // `part`: ranges that no other worker touches.
  DiskWorker(DiskUnderTest& shared, std::vector<SectorRange> part, std::uint64_t seed);

  // Makes one request of a random kind. Throws if it fails or a value that is read is wrong.
  void step(Disk& disk);
  // Writes one sector of data.
  void write_one(Disk& disk);
  void flush(Disk& disk);

 private:
  struct ByteRange {
    std::uint64_t offset, length;
  };
  ByteRange choose(std::uint64_t most_sectors, bool aligned);
  void write(Disk& disk, ByteRange range, bool fua);
  void zero(Disk& disk, ByteRange range, bool may_punch, bool fua);
  void trim(Disk& disk, ByteRange range, bool fua);
  void read(Disk& disk, ByteRange range);
  void begin(ByteRange range, std::uint64_t generation, bool fua);
  void finish(ByteRange range);
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  DiskUnderTest& shared_;
  const std::vector<SectorRange> part_;
  std::mt19937_64 random_;
};

}  // namespace plydisk::torture
