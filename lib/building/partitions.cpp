#include "building/partitions.hpp"

#include "base/error.hpp"
#include "base/program.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

constexpr std::uint64_t alignment = mebibyte;
constexpr std::uint64_t bios_boot_length = mebibyte;
// FAT32, which all firmware reads, has 65,525 clusters at least.
constexpr std::uint64_t esp_length = 48 * mebibyte;
// The second table, at the end.
constexpr std::uint64_t tail_length = mebibyte;

// From the UEFI specification, GRUB's manual and the Discoverable Partitions Specification.
constexpr const char* bios_boot_type = "21686148-6449-6E6F-744E-656564454649";
constexpr const char* esp_type = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
constexpr const char* root_type = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";  // of Linux on x86-64

std::uint64_t before_root(bool bootable) {
  return alignment + (bootable ? bios_boot_length + esp_length : 0);
}

std::string line(const DiskRange& extent, const char* type, const char* name) {
  return "start=" + std::to_string(extent.offset / sector_size) +
         ", size=" + std::to_string(extent.length / sector_size) + ", type=" + type + ", name=\"" +
         name + "\"";
}

}  // namespace

std::uint64_t disk_size_for(std::uint64_t root_length, bool bootable) {
  return before_root(bootable) + (root_length + alignment - 1) / alignment * alignment +
         tail_length;
}

Layout lay_out(std::uint64_t size, bool bootable, const std::string& root_uuid) {
  Layout layout;
  layout.size = size;
  layout.root_uuid = root_uuid;
  std::uint64_t place = alignment;
  if (bootable) {
    layout.bios_boot = {place, bios_boot_length};
    place += bios_boot_length;
    layout.esp = {place, esp_length};
    place += esp_length;
  }
  if (size < place + tail_length + mebibyte)
    throw Error(EINVAL, "a disk of " + std::to_string(size) +
                            " bytes has no room for its partitions; it needs at least " +
                            std::to_string(disk_size_for(mebibyte, bootable)));
  layout.root = {place, (size - tail_length - place) / alignment * alignment};
  return layout;
}

void write_partition_table(const Layout& layout, const std::filesystem::path& disk) {
  std::string script = "label: gpt\n";
  if (layout.bios_boot) script += line(*layout.bios_boot, bios_boot_type, "BIOS boot") + "\n";
  if (layout.esp) script += line(*layout.esp, esp_type, "EFI system") + "\n";
  script += line(layout.root, root_type, "root") + ", uuid=" + layout.root_uuid + "\n";
  output_of({"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk.string()}, script);
}

}  // namespace plydisk
