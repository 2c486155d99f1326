#include "capture/file_systems.hpp"

#include <array>
#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "base/program.hpp"

namespace plydisk {

namespace {

// A part of the disk, in which numbers are looked up. All are little-endian.
class DiskBytes {
 public:
  // Nothing is in it if it does not lie in the range.
  DiskBytes(const ReadDisk& read, Range range, std::uint64_t offset, std::size_t length) {
    if (offset > range.length() || length > range.length() - offset) return;
    data_.resize(length);
    read(data_.data(), length, range.begin + offset);
  }

  std::size_t size() const { return data_.size(); }
  // 0 for what is not in it.
  std::uint64_t number(std::size_t at, unsigned width) const {
    if (at > data_.size() || width > data_.size() - at) return 0;
    std::uint64_t value = 0;
    for (unsigned i = width; i-- > 0;)
      value = value << 8U | std::to_integer<std::uint64_t>(data_[at + i]);
    return value;
  }
  bool has(std::size_t at, std::string_view text) const {
    return at + text.size() <= data_.size() &&
           std::memcmp(data_.data() + at, text.data(), text.size()) == 0;
  }
  void copy(std::size_t from, std::size_t to, std::size_t length) {
    if (from + length <= data_.size() && to + length <= data_.size())
      std::memcpy(data_.data() + to, data_.data() + from, length);
  }

 private:
  std::vector<std::byte> data_;
};

constexpr std::size_t ntfs_stride = 512;

// NTFS keeps the last two bytes of each 512 of a record in its head, as a mark of torn writes.
void undo_fixups(DiskBytes& record) {
  const std::size_t list = record.number(4, 2), count = record.number(6, 2);
  for (std::size_t i = 1; i < count; ++i) record.copy(list + 2 * i, i * ntfs_stride - 2, 2);
}

// The flags of the volume, in the attribute $VOLUME_INFORMATION of the record of $Volume.
std::optional<std::uint64_t> ntfs_volume_flags(const DiskBytes& record) {
  constexpr std::uint64_t volume_information = 0x70, last = 0xffffffff;
  for (std::size_t at = record.number(0x14, 2); at + 0x18 <= record.size();) {
    const std::uint64_t type = record.number(at, 4), length = record.number(at + 4, 4);
    if (type == volume_information) return record.number(at + record.number(at + 0x14, 2) + 10, 2);
    if (type == last || length == 0) break;
    at += length;
  }
  return {};
}

}  // namespace

std::string ntfs_trouble(const ReadDisk& read, Range range) {
  constexpr std::uint64_t volume_record = 3;
  const DiskBytes boot(read, range, 0, ntfs_stride);
  const std::uint64_t sector = boot.number(0x0b, 2);
  // From 128 on they are negative powers of two.
  const std::uint64_t sectors = boot.number(0x0d, 1), records = boot.number(0x40, 1);
  const std::uint64_t cluster = sector * (sectors < 128 ? sectors : 1ULL << (256 - sectors) % 64);
  const std::uint64_t record_size =
      records < 128 ? records * cluster : 1ULL << (256 - records) % 64;
  constexpr std::uint64_t largest_record = 64 << 10;
  if (cluster == 0 || record_size < ntfs_stride || record_size > largest_record ||
      boot.number(0x30, 8) > range.length() / cluster)
    return "is damaged";
  DiskBytes record(read, range, boot.number(0x30, 8) * cluster + volume_record * record_size,
                   record_size);
  if (!record.has(0, "FILE")) return "is damaged";
  undo_fixups(record);
  const auto flags = ntfs_volume_flags(record);
  if (!flags) return "is damaged";
  return (*flags & 1) != 0 ? "was not shut down cleanly" : "";
}

std::string fat_trouble(const ReadDisk& read, Range range) {
  const DiskBytes boot(read, range, 0, 512);
  const std::uint64_t sector = boot.number(0x0b, 2), cluster_sectors = boot.number(0x0d, 1);
  const std::uint64_t reserved = boot.number(0x0e, 2);
  const bool is_fat32 = boot.number(0x16, 2) == 0;
  const std::uint64_t table = is_fat32 ? boot.number(0x24, 4) : boot.number(0x16, 2);
  const std::uint64_t all = boot.number(0x13, 2) != 0 ? boot.number(0x13, 2) : boot.number(0x20, 4);
  const std::uint64_t root = boot.number(0x11, 2) * 32;  // bytes
  if (sector == 0 || cluster_sectors == 0 || all == 0) return "is damaged";
  const std::uint64_t others =
      reserved + boot.number(0x10, 1) * table + (root + sector - 1) / sector;
  if (others > all || all * sector > range.length()) return "is damaged";
  // Linux marks the boot sector, others the second entry of the table. FAT12 has no room for that.
  if ((boot.number(is_fat32 ? 0x41 : 0x25, 1) & 1) != 0) return "was not unmounted";
  constexpr std::uint64_t first_fat16 = 4085;  // clusters
  if (!is_fat32 && (all - others) / cluster_sectors < first_fat16) return {};
  const DiskBytes entries(read, range, reserved * sector, 8);
  const std::uint64_t second = is_fat32 ? entries.number(4, 4) >> 26U : entries.number(2, 2) >> 14U;
  if ((second & 2) == 0) return "was not unmounted";
  return (second & 1) == 0 ? "has errors" : "";
}

std::string btrfs_trouble(const ReadDisk& read, Range range) {
  constexpr std::uint64_t superblock = 64 << 10;
  const DiskBytes super(read, range, superblock, 4096);
  if (!super.has(0x40, "_BHRfS_M")) return "is damaged";
  if (super.number(0x88, 8) != 1) return "is spread over several devices";
  // What is in the log is in no map.
  return super.number(0x60, 8) != 0 ? "has a log to be replayed" : "";
}

std::string xfs_trouble(const std::string& path) {
  const ProgramResult log = run_program({"xfs_logprint", "-t", path});
  if (log.output.find("state: <CLEAN>") != std::string::npos) return {};
  if (log.output.find("state: <DIRTY>") != std::string::npos) return "has a log to be replayed";
  return "has a log that can't be read (xfs_logprint: " + log.complaint() + ")";
}

std::string ntfs_hibernation(const std::string& path) {
  // A system that has woken up leaves the file, and writes over its signature.
  const ProgramResult file = run_program(
      {"sh", "-c", "ntfscat \"$1\" hiberfil.sys 2> /dev/null | head -c 4", "ntfscat", path});
  return file.output == "hibr" || file.output == "HIBR" ? "holds a hibernated Windows" : "";
}

}  // namespace plydisk
