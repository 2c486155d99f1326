// Where the bytes of a run of sectors are: nowhere (they are zeros), in the backing, or in the data
// file of a layer.
#pragma once

#include <cstdint>

#include "base/mapped_file.hpp"

namespace plydisk {

class Source {
 public:
  static Source zeros() { return Source(0); }
  static Source backing() { return Source(1); }
  static Source file(const MappedFile& file) {
    return Source(reinterpret_cast<std::uintptr_t>(&file));
  }
  Source() = default;
  bool is_zeros() const { return value_ == 0; }
  bool is_backing() const { return value_ == 1; }
  bool is_file() const { return value_ > 1; }
  const MappedFile& file() const { return *reinterpret_cast<const MappedFile*>(value_); }
  bool operator==(const Source&) const = default;

 private:
  explicit Source(std::uintptr_t value) : value_(value) {}
  std::uintptr_t value_;
};

}  // namespace plydisk
