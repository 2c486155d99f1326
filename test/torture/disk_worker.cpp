#include "disk_worker.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "sector_pattern.hpp"

namespace plydisk::torture {

DiskWorker::DiskWorker(DiskUnderTest& shared, std::vector<SectorRange> part, std::uint64_t seed)
    : shared_(shared), part_(std::move(part)), random_(seed) {}

DiskWorker::ByteRange DiskWorker::choose(std::uint64_t most_sectors, bool aligned) {
  // Half of the requests go to a small part, so that sectors are written again and again.
  const std::size_t ranges = part_.size();
  const SectorRange range = part_[below(2) == 0 ? below(ranges) : below(1 + ranges / 8)];
  const std::uint64_t hot = below(2) == 0 ? range.count : std::min<std::uint64_t>(range.count, 256);
  const std::uint64_t first = range.first + below(hot);
  const std::uint64_t room = range.first + range.count - first;
  const std::uint64_t count = 1 + below(std::min(room, most_sectors));
  ByteRange bytes{first * pattern_size, count * pattern_size};
  if (aligned) return bytes;
  const std::uint64_t skipped = below(bytes.length);
  bytes.offset += skipped;
  bytes.length = 1 + below(bytes.length - skipped);
  return bytes;
}

void DiskWorker::step(Disk& disk) {
  const std::uint64_t draw = below(100);
  const std::uint64_t most = below(10) == 0 ? 300 : below(3) == 0 ? 40 : 8;
  if (draw < 45) return write(disk, choose(most, true), below(12) == 0);
  if (draw < 60) return write(disk, choose(most, false), below(12) == 0);
  if (draw < 68) return trim(disk, choose(most, below(2) == 0), below(16) == 0);
  if (draw < 74) return zero(disk, choose(most, below(2) == 0), below(2) == 0, below(16) == 0);
  if (draw < 88) return flush(disk);
  read(disk, choose(most, below(2) == 0));
}

void DiskWorker::write_one(Disk& disk) { write(disk, choose(1, true), false); }

// Enters the new values of the sectors that the range touches; the model's bytes are changed.
void DiskWorker::begin(ByteRange range, std::uint64_t generation, bool fua) {
  Version version;
  version.began = shared_.recorder.position();
  version.first_epoch = shared_.model.earliest_epoch();
  version.generation = generation;
  version.fua = fua;
  for (std::uint64_t sector = range.offset / pattern_size;
       sector * pattern_size < range.offset + range.length; ++sector) {
    version.hash = hash_sector(&shared_.content[sector * pattern_size]);
    shared_.model.add(sector, version);
  }
}

void DiskWorker::finish(ByteRange range) {
  const unsigned last_epoch = shared_.model.latest_epoch();
  const std::uint64_t ended = shared_.recorder.mark();
  for (std::uint64_t sector = range.offset / pattern_size;
       sector * pattern_size < range.offset + range.length; ++sector)
    shared_.model.finish(sector, ended, last_epoch);
}

void DiskWorker::write(Disk& disk, ByteRange range, bool fua) {
  const std::uint64_t generation = shared_.generation.fetch_add(1);
  const std::uint64_t first = range.offset / pattern_size;
  const std::uint64_t end = (range.offset + range.length + pattern_size - 1) / pattern_size;
  std::vector<std::byte> sectors((end - first) * pattern_size);
  for (std::uint64_t sector = first; sector < end; ++sector)
    fill_sector(&sectors[(sector - first) * pattern_size], sector, generation);
  const std::byte* const data = &sectors[range.offset % pattern_size];
  std::memcpy(&shared_.content[range.offset], data, range.length);
  begin(range, generation, fua);
  disk.write(data, range.length, range.offset, fua);
  finish(range);
}

void DiskWorker::zero(Disk& disk, ByteRange range, bool may_punch, bool fua) {
  const std::uint64_t generation = shared_.generation.fetch_add(1);
  std::memset(&shared_.content[range.offset], 0, range.length);
  begin(range, generation, fua);
  disk.zero(range.offset, range.length, may_punch, fua);
  finish(range);
}

void DiskWorker::trim(Disk& disk, ByteRange range, bool fua) {
  const std::uint64_t generation = shared_.generation.fetch_add(1);
  const std::uint64_t first = (range.offset + pattern_size - 1) / pattern_size;
  const std::uint64_t end = (range.offset + range.length) / pattern_size;
  ByteRange zeroed{first * pattern_size, 0};
  if (first < end) zeroed.length = (end - first) * pattern_size;
  if (zeroed.length > 0) std::memset(&shared_.content[zeroed.offset], 0, zeroed.length);
  begin(zeroed, generation, fua);
  disk.trim(range.offset, range.length, fua);
  finish(zeroed);
}

void DiskWorker::flush(Disk& disk) {
  const std::uint64_t began = shared_.recorder.position();
  disk.flush();
  shared_.model.add_flush(began, shared_.recorder.mark());
}

void DiskWorker::read(Disk& disk, ByteRange range) {
  std::vector<std::byte> found(range.length);
  disk.read(found.data(), range.length, range.offset);
  const std::byte* const expected = &shared_.content[range.offset];
  const auto [at, unused] = std::mismatch(found.begin(), found.end(), expected);
  if (at == found.end()) return;
  const std::uint64_t byte = range.offset + static_cast<std::uint64_t>(at - found.begin());
  const std::uint64_t sector = byte / pattern_size;
  std::string message = "without any power cut, byte " + std::to_string(byte) + " (sector " +
                        std::to_string(sector) + ") reads wrong";
  std::vector<std::byte> whole(pattern_size);
  disk.read(whole.data(), pattern_size, sector * pattern_size);
  message += ": found " + describe_sector(whole.data()) + ", expected " +
             describe_sector(&shared_.content[sector * pattern_size]);
  throw std::runtime_error(message);
}

}  // namespace plydisk::torture
