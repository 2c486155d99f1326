// Where a captured disk goes: a sparse file, or the export of an NBD server.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "capture/ranges.hpp"

namespace plydisk {

// Thread safety: sync() from any thread, the others from one. Offsets and lengths are bytes. All
// functions throw Error.
class CaptureTarget {
 public:
  virtual ~CaptureTarget() = default;
  virtual std::string name() const = 0;
  virtual std::uint64_t size() const = 0;
  // Whether what a capture has left is there up to this byte.
  virtual bool has_reached(std::uint64_t done) const = 0;
  // To be called first: all from this byte on is written or zeroed anew.
  virtual void begin_at(std::uint64_t done) = 0;
  virtual void write(const void* buffer, std::size_t length, std::uint64_t offset) = 0;
  // The range reads as zeros from now on.
  virtual void zero(Range range) = 0;
  // Makes durable what was written.
  virtual void sync() = 0;
  // Before what was written is read back: from the disk, if possible, and not from memory.
  virtual void forget_cached() = 0;
  virtual void read(void* buffer, std::size_t length, std::uint64_t offset) = 0;
  // Where data begins at or after this byte; up to there it reads as zeros. The given byte if that
  // is not known.
  virtual std::uint64_t next_data(std::uint64_t offset) = 0;
};

// A file that is made if need be, of this size.
std::unique_ptr<CaptureTarget> open_file_target(const std::filesystem::path& path,
                                                std::uint64_t size);
// An export that is written in place.
std::unique_ptr<CaptureTarget> open_nbd_target(const std::string& uri);

}  // namespace plydisk
