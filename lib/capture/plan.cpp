#include "capture/plan.hpp"

#include <gnutls/crypto.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/hex.hpp"
#include "base/program.hpp"
#include "capture/ext_map.hpp"
#include "capture/file_systems.hpp"
#include "capture/partclone.hpp"

namespace plydisk {

namespace {

// Kept whatever a map says: boot code at the beginning, and NTFS's copy of its boot sector, which
// partclone's map leaves out, at the end.
constexpr std::uint64_t kept_begin = 64 << 10, kept_end = 4096;  // bytes
constexpr std::uint64_t largest_page = 64 << 10;     // bytes; a swap's signature is in its first
constexpr std::uint64_t mirror_btrfs = 64ULL << 20;  // where btrfs keeps copies of its superblock
constexpr std::uint64_t second_mirror_btrfs = 256ULL << 30;

// Why a partition is copied as a whole; nothing that is wrong with it.
class NoMap : public Error {
 public:
  using Error::Error;
};

// Why it is not captured, in a sentence for the user.
class NotClean : public Error {
 public:
  using Error::Error;
};

class Planner {
 public:
  Planner(CaptureSource& source, const PlanOptions& options)
      : source_(source),
        options_(options),
        read_([&source](void* buffer, std::size_t length, std::uint64_t offset) {
          source.read(buffer, length, offset);
        }) {}

  CapturePlan run() {
    const DiskLayout layout = read_layout(read_, source_.size(), source_.sector_bytes());
    CapturePlan plan;
    plan.table = layout.table;
    refuse_large_sectors(layout);
    if (!layout.doubt.empty()) note("all of the disk is copied: " + layout.doubt);
    Ranges free;
    for (const Partition& partition : layout.partitions) {
      PlannedPartition planned{partition.number, partition.range, partition.type,
                               partition.uuid,   "verbatim",      0};
      Ranges free_here = layout.doubt.empty() ? free_of(partition, planned.method) : Ranges{};
      if (planned.method != "signature") keep_ends(free_here, partition);
      planned.used = partition.range.length() - free_here.bytes();
      for (const Range& range : free_here.list()) free.add(range);
      plan.partitions.push_back(std::move(planned));
    }
    if (!options_.exclude.empty()) require_excluded();
    plan.used = Ranges{{0, source_.size()}};
    plan.used.remove(free);
    plan.digest = digest_of(plan, layout);
    return plan;
  }

 private:
  void note(const std::string& sentence) const {
    if (options_.note) options_.note(sentence);
  }

  static std::string name_of(const Partition& partition) {
    std::string name =
        partition.number == 0 ? "the disk" : "partition " + std::to_string(partition.number);
    return partition.type.empty() ? name : name + " (" + partition.type + ")";
  }

  // Stations see sectors of 512 bytes.
  void refuse_large_sectors(const DiskLayout& layout) const {
    const unsigned sector = source_.sector_bytes();
    if (sector == 512 || layout.table.empty() || options_.force) return;
    throw Error(EINVAL, source_.name() + " has sectors of " + std::to_string(sector) +
                            " bytes; stations see sectors of 512 bytes, and would not find its "
                            "partitions. --force captures it all the same");
  }

  Ranges free_of(const Partition& partition, std::string& method) {
    try {
      if (source_.in_use().within(partition.range).bytes() > 0) throw NoMap(EBUSY, "is in use");
      if (partition.type == "ext2" || partition.type == "ext3" || partition.type == "ext4") {
        method = "bitmap";
        return free_of_ext(partition);
      }
      if (partition.type == "swap") {
        method = "signature";
        return Ranges{{partition.range.begin + largest_page,
                       std::max(partition.range.begin + largest_page, partition.range.end)}};
      }
      if (partition.type == "swsuspend") require_clean(partition, "holds a hibernated system");
      if (const auto program = partclone_program(partition.type)) {
        method = "partclone";
        return free_by_partclone(partition, *program);
      }
    } catch (const NoMap& reason) {
      note("all of " + name_of(partition) + " is copied: it " + reason.what());
    }
    method = "verbatim";
    return {};
  }

  void require_clean(const Partition& partition, const std::string& trouble) const {
    if (trouble.empty()) return;
    if (source_.is_snapshot() || options_.force) throw NoMap(EUCLEAN, trouble);
    throw NotClean(EUCLEAN, name_of(partition) + " of " + source_.name() + " " + trouble + ": " +
                                remedy_for(partition.type, trouble) +
                                " and capture it then; --force captures it as it is");
  }

  static std::string remedy_for(const std::string& type, const std::string& trouble) {
    if (type == "ntfs") return "start its Windows, shut it down with \"shutdown /s /f /t 0\"";
    if (type == "swsuspend") return "start its system, shut it down";
    // What is wrong with it stays so when it is mounted.
    if ((type.starts_with("ext") || type == "vfat") &&
        (trouble == "has errors" || trouble.starts_with("is damaged")))
      return "repair it with \"fsck." + type + "\"";
    return "mount it, unmount it";
  }

  Ranges free_of_ext(const Partition& partition) {
    try {
      const ExtFileSystem file_system(read_, partition.range.begin, partition.range.length());
      require_clean(partition, ext_trouble(file_system));
      Ranges free = ext_free(file_system, partition.range.begin);
      if (options_.exclude.empty()) return free;
      ++searched_;
      const ExtExcluded excluded =
          ext_excluded(file_system, partition.range.begin, options_.exclude);
      excluded_files_ += excluded.files;
      for (const Range& range : excluded.data.list()) free.add(range);
      return free;
    } catch (const NoMap&) {
      throw;
    } catch (const NotClean&) {
      throw;
    } catch (const Error& error) {
      if (error.code() == EINVAL)
        throw NoMap(EINVAL, "can't be read here (" + std::string(error.what()) + ")");
      if (error.code() != EUCLEAN) throw;
      require_clean(partition, "is damaged (" + std::string(error.what()) + ")");
      throw;
    }
  }

  Ranges free_by_partclone(const Partition& partition, const std::string& program) {
    if (partition.type == "ntfs") require_clean(partition, ntfs_trouble(read_, partition.range));
    if (partition.type == "vfat") require_clean(partition, fat_trouble(read_, partition.range));
    if (partition.type == "btrfs") require_clean(partition, btrfs_trouble(read_, partition.range));
    std::string trouble;
    Ranges free;
    std::vector<Requirement> needed{{program, "partclone"}};
    if (partition.type == "xfs") needed.push_back({"xfs_logprint", "xfsprogs"});
    if (partition.type == "ntfs") needed.push_back({"ntfscat", "ntfs-3g"});
    try {
      require_installed(needed, "to know what is in use");
      std::unique_ptr<LoopDevice> loop;
      const std::string path = source_.path_of(partition.range, loop);
      if (partition.type == "xfs") trouble = xfs_trouble(path);
      if (partition.type == "ntfs") trouble = ntfs_hibernation(path);
      if (trouble.empty()) free = partclone_free(program, path, partition.range.begin);
    } catch (const Error& error) {
      throw NoMap(error.code(), "can't be looked into (" + std::string(error.what()) + ")");
    }
    require_clean(partition, trouble);
    return free;
  }

  void keep_ends(Ranges& free, const Partition& partition) const {
    const Range& range = partition.range;
    free = free.within(range);
    free.remove({range.begin, range.begin + kept_begin});
    free.remove({range.end - std::min(range.length(), kept_end), range.end});
    if (partition.type != "btrfs") return;
    for (const std::uint64_t mirror : {mirror_btrfs, second_mirror_btrfs})
      free.remove({range.begin + mirror, range.begin + mirror + kept_end});
  }

  void require_excluded() const {
    if (searched_ == 0)
      throw Error(EOPNOTSUPP,
                  "--exclude works on ext4 alone, and " + source_.name() +
                      " has no ext4 file system that can be read: leave the option out, and remove "
                      "the files before the capture");
    if (excluded_files_ == 0) note("--exclude matches no file");
  }

  std::string digest_of(const CapturePlan& plan, const DiskLayout& layout) const {
    std::string text = source_.identity() + "\n" + layout.fingerprint;
    for (const Range& range : plan.used.list())
      text += "\n" + std::to_string(range.begin) + " " + std::to_string(range.end);
    std::array<unsigned char, 32> sum{};
    if (::gnutls_hash_fast(GNUTLS_DIG_SHA256, text.data(), text.size(), sum.data()) != 0)
      throw Error(ENOMEM, "cannot hash");
    return to_hex(sum);
  }

  CaptureSource& source_;
  const PlanOptions& options_;
  const ReadDisk read_;
  unsigned searched_ = 0, excluded_files_ = 0;
};

}  // namespace

CapturePlan make_plan(CaptureSource& source, const PlanOptions& options) {
  CapturePlan plan = Planner(source, options).run();
  source.forget_paths();
  return plan;
}

}  // namespace plydisk
