// Discs that a system boots from: its disk lies on an optical medium, or on a stick that such a
// disc was copied to.
//
//   /boot/grub                 starts the kernel
//   /plydisk/vmlinuz, initrd   of the version's system
//   /plydisk/disk.squashfs     has the version's disk in the file "disk"
//   /plydisk/disk.sha256       of disk.squashfs, in hexadecimal
//
// A disc is an ISO 9660 volume, known by its application and told from others by its label, which
// is the volume's name. Functions throw Error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "base/progress.hpp"

namespace plydisk {

inline constexpr const char* disc_application = "PLYDISK";
inline constexpr const char* disc_folder = "plydisk";
inline constexpr const char* disc_kernel = "vmlinuz";
inline constexpr const char* disc_initrd = "initrd";
inline constexpr const char* disc_packed = "disk.squashfs";
inline constexpr const char* disc_hash = "disk.sha256";
inline constexpr const char* disc_disk = "disk";  // in what is packed

struct DiscVolume {
  std::string label;
  std::uint64_t size = 0;  // bytes, of the whole volume
};
// Nothing if the medium has no disc of plydisk.
std::optional<DiscVolume> read_disc_volume(const File& medium);

// 1 to 32 of A-Z, 0-9 and "_".
bool is_valid_disc_label(std::string_view label);
// One that no other disc has: the image's name, as far as it fits, and random digits.
std::string new_disc_label(std::string_view image);

// The SHA-256 of the whole file.
std::string hash_of_file(const File& file, const Progress& progress);

}  // namespace plydisk
