#include "capture/disk_layout.hpp"

#include <blkid/blkid.h>
#include <gnutls/crypto.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hex.hpp"

namespace plydisk {

namespace {

// libblkid reads files and devices alone, so it gets a sparse copy in memory of what it may look
// at: both ends of the disk and of each partition, and where logical partitions are listed.
class Ends {
 public:
  Ends(const ReadDisk& read, std::uint64_t size) : read_(read), size_(size) {
    memory_ = UniqueFd(::memfd_create("plydisk-ends", MFD_CLOEXEC));
    if (!memory_ || ::ftruncate(memory_.get(), static_cast<off_t>(size)) != 0)
      throw_errno("cannot make a file in memory");
  }

  // Of an end: superblocks lie in the first MiB, and backups of tables and of RAID's in the last.
  static constexpr std::uint64_t length = 1 << 20;  // bytes

  void add_ends_of(Range range) {
    add({range.begin, std::min(range.end, range.begin + length)});
    add({std::max(range.begin, range.end - std::min(range.end, length)), range.end});
  }

  void add(Range range) {
    range.end = std::min(range.end, size_);
    Ranges lacking{range};
    lacking.remove(present_);
    present_.add(range);
    for (const Range& part : lacking.list()) {
      std::vector<std::byte> data(part.length());
      read_(data.data(), data.size(), part.begin);
      for (std::size_t done = 0; done < data.size();) {
        const ssize_t put = ::pwrite(memory_.get(), data.data() + done, data.size() - done,
                                     static_cast<off_t>(part.begin + done));
        if (put <= 0) throw_errno("cannot write to a file in memory");
        done += static_cast<std::size_t>(put);
      }
    }
  }

  int fd() const { return memory_.get(); }

  std::string sha256() const {
    gnutls_hash_hd_t hash = nullptr;
    if (::gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) != 0) throw Error(ENOMEM, "cannot hash");
    for (const Range& range : present_.list()) {
      std::vector<std::byte> data(range.length());
      if (::pread(memory_.get(), data.data(), data.size(), static_cast<off_t>(range.begin)) ==
          static_cast<ssize_t>(data.size()))
        ::gnutls_hash(hash, data.data(), data.size());
    }
    std::array<unsigned char, 32> sum{};
    ::gnutls_hash_deinit(hash, sum.data());
    return to_hex(sum);
  }

 private:
  const ReadDisk& read_;
  std::uint64_t size_;
  UniqueFd memory_;
  Ranges present_;
};

using Probe = std::unique_ptr<blkid_struct_probe, decltype(&::blkid_free_probe)>;

Probe make_probe(const Ends& ends, Range range, unsigned sector_bytes) {
  Probe probe(::blkid_new_probe(), ::blkid_free_probe);
  if (!probe || ::blkid_probe_set_device(probe.get(), ends.fd(), static_cast<off_t>(range.begin),
                                         static_cast<off_t>(range.length())) != 0)
    throw Error(ENOMEM, "cannot look for file systems");
  ::blkid_probe_set_sectorsize(probe.get(), sector_bytes);
  return probe;
}

std::string value_of(const Probe& probe, const char* name) {
  const char* value = nullptr;
  return ::blkid_probe_lookup_value(probe.get(), name, &value, nullptr) == 0 ? value : "";
}

constexpr int wanted_values = BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID | BLKID_SUBLKS_MAGIC;

// What file system a partition has, or whatever else has a signature.
void look_into(Partition& partition, const Ends& ends, Range range, unsigned sector_bytes) {
  const Probe probe = make_probe(ends, range, sector_bytes);
  ::blkid_probe_enable_superblocks(probe.get(), 1);
  ::blkid_probe_set_superblocks_flags(probe.get(), wanted_values);
  ::blkid_probe_enable_partitions(probe.get(), 0);
  if (::blkid_do_safeprobe(probe.get()) != 0) return;
  partition.type = value_of(probe, "TYPE");
  partition.uuid = value_of(probe, "UUID");
}

std::uint32_t little32(const std::byte* bytes) {
  std::uint32_t value = 0;
  for (unsigned i = 4; i-- > 0;) value = value << 8U | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

// The tables of logical partitions lie anywhere, each with the place of the next one.
void add_extended_tables(Ends& ends, const ReadDisk& read, std::uint64_t size, unsigned sector) {
  std::uint64_t container = 0, at = 0;
  constexpr unsigned most_tables = 256;
  for (unsigned tables = 0; tables < most_tables; ++tables) {
    std::array<std::byte, 512> table{};
    if (at + table.size() > size) return;
    read(table.data(), table.size(), at);
    if (table[510] != std::byte{0x55} || table[511] != std::byte{0xaa}) return;
    ends.add({at, at + sector});
    std::uint64_t next = 0;
    for (std::size_t entry = 446; entry < 510 && next == 0; entry += 16) {
      const auto type = std::to_integer<unsigned>(table[entry + 4]);
      if (type != 0x05 && type != 0x0f && type != 0x85) continue;
      next = container + std::uint64_t{little32(&table[entry + 8])} * sector;
    }
    if (next == 0) return;
    if (container == 0) container = next;
    at = next;
  }
}

// Of the disk's own table, those that hold no others.
std::vector<Partition> partitions_of(blkid_partlist list) {
  constexpr std::uint64_t unit = 512;  // bytes, whatever the disk's sectors are
  std::vector<Partition> partitions;
  blkid_parttable const root = ::blkid_partlist_get_table(list);
  for (int i = 0; i < ::blkid_partlist_numof_partitions(list); ++i) {
    blkid_partition const part = ::blkid_partlist_get_partition(list, i);
    const bool is_of_root = ::blkid_partition_get_table(part) == root;
    if (::blkid_partition_is_extended(part) != 0 ||
        !(is_of_root || ::blkid_partition_is_logical(part) != 0))
      continue;
    const auto begin = static_cast<std::uint64_t>(::blkid_partition_get_start(part)) * unit;
    const auto length = static_cast<std::uint64_t>(::blkid_partition_get_size(part)) * unit;
    partitions.push_back({static_cast<unsigned>(::blkid_partition_get_partno(part)),
                          {begin, begin + length},
                          {},
                          {}});
  }
  return partitions;
}

std::string doubt_about(const DiskLayout& layout, std::uint64_t size) {
  Ranges taken;
  for (const Partition& partition : layout.partitions) {
    const std::string name = "partition " + std::to_string(partition.number);
    if (partition.range.end > size) return name + " ends after the end of the disk";
    if (taken.within(partition.range).bytes() > 0) return name + " overlaps another one";
    taken.add(partition.range);
  }
  return {};
}

}  // namespace

DiskLayout read_layout(const ReadDisk& read, std::uint64_t size, unsigned sector_bytes) {
  const Range whole{0, size};
  Ends ends(read, size);
  ends.add_ends_of(whole);
  add_extended_tables(ends, read, size, sector_bytes);

  const Probe probe = make_probe(ends, whole, sector_bytes);
  ::blkid_probe_enable_superblocks(probe.get(), 1);
  ::blkid_probe_set_superblocks_flags(probe.get(), wanted_values);
  ::blkid_probe_enable_partitions(probe.get(), 1);
  const int found = ::blkid_do_safeprobe(probe.get());
  DiskLayout layout;
  if (found == 0) layout.table = value_of(probe, "PTTYPE");
  const std::string whole_type = found == 0 ? value_of(probe, "TYPE") : "";
  if (found < 0)
    layout.doubt = "the disk has signatures of several file systems or partition tables";
  else if (!layout.table.empty() && !whole_type.empty())
    layout.doubt = "the disk has a partition table and the signature of " + whole_type;
  if (layout.table.empty() || !layout.doubt.empty()) {
    layout.partitions.push_back({0, whole, whole_type, found == 0 ? value_of(probe, "UUID") : ""});
  } else {
    // A probe of its own: the list is made anew when it is asked for.
    const Probe tables = make_probe(ends, whole, sector_bytes);
    blkid_partlist const list = ::blkid_probe_get_partitions(tables.get());
    if (list != nullptr) layout.partitions = partitions_of(list);
    layout.doubt = doubt_about(layout, size);
    for (Partition& partition : layout.partitions) {
      if (partition.range.begin >= size || partition.range.length() == 0) continue;
      const Range inside{partition.range.begin, std::min(partition.range.end, size)};
      ends.add_ends_of(inside);
      look_into(partition, ends, inside, sector_bytes);
    }
  }
  layout.fingerprint = ends.sha256();
  return layout;
}

}  // namespace plydisk
