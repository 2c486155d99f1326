// The formats of disk files that qemu knows, as far as they are exchanged with other systems.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

struct DiskFormat {
  const char* name;
  const char* driver;                   // qemu's name
  std::vector<const char*> extensions;  // with the dot
  const char* options;                  // of `qemu-img create`; null: none
  // What a file begins with, at this byte; empty: nothing of its own.
  std::string_view header;
  std::uint64_t header_at;

  bool is_raw() const;
};

// By one of its names; throws Error(EINVAL).
const DiskFormat& disk_format(const std::string& name);
// Another one than raw whose header the file begins with; null: none, or it can't be read. What it
// says is a guess for the user to judge.
const DiskFormat* format_by_header(const std::string& path);
// The one that a file has by its name; raw if that says nothing.
const DiskFormat& disk_format_of(const std::string& path);
const DiskFormat& raw_format();

}  // namespace plydisk
