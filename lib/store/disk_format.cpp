#include "store/disk_format.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

const std::vector<DiskFormat>& all_formats() {
  static const std::vector<DiskFormat> formats{
      {"raw", "raw", {}, nullptr, "", 0},
      {"qcow2", "qcow2", {".qcow2"}, nullptr, "QFI\xfb", 0},
      {"vmdk", "vmdk", {".vmdk"}, nullptr, "KDMV", 0},
      // Else the disk is made larger, to one that has whole cylinders.
      {"vhd", "vpc", {".vhd", ".vpc"}, "force_size=on", "conectix", 0},
      {"vhdx", "vhdx", {".vhdx"}, nullptr, "vhdxfile", 0},
      {"vdi", "vdi", {".vdi"}, nullptr, "\x7f\x10\xda\xbe", 64},
  };
  return formats;
}

}  // namespace

bool DiskFormat::is_raw() const { return this == &raw_format(); }

const DiskFormat& raw_format() { return all_formats().front(); }

const DiskFormat& disk_format(const std::string& name) {
  std::vector<std::string> names;
  for (const DiskFormat& format : all_formats()) {
    if (name == format.name || name == format.driver) return format;
    names.emplace_back(format.name);
  }
  throw Error(EINVAL, "there is no format " + quote(name) + suggestion(name, names));
}

const DiskFormat* format_by_header(const std::string& path) {
  // Opening a pipe would wait for who writes it.
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  using enum std::filesystem::file_type;
  if (kind != regular && kind != block) return nullptr;
  std::ifstream file(path, std::ios::binary);
  std::array<char, 512> sector{};
  file.read(sector.data(), sector.size());
  const std::string_view text(sector.data(), sector.size());
  for (const DiskFormat& format : all_formats())
    if (!format.header.empty() && text.substr(format.header_at).starts_with(format.header))
      return &format;
  return nullptr;
}

const DiskFormat& disk_format_of(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const DiskFormat& format : all_formats())
    if (std::ranges::find(format.extensions, extension) != format.extensions.end()) return format;
  return raw_format();
}

}  // namespace plydisk
