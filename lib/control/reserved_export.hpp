// Exports of a server that are no disks, and whose names begin with a dot: they are for plydisk's
// own engines at stations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "store/store.hpp"

namespace plydisk {

class MulticastService;
class StationHub;

// One connection's. Thread safety: all functions from any thread. Ranges are inside size().
class ReservedExport {
 public:
  virtual ~ReservedExport() = default;
  virtual std::uint64_t size() const = 0;  // bytes
  virtual void read(void* buffer, std::size_t length, std::uint64_t offset) = 0;
  virtual void write(const void* data, std::size_t length, std::uint64_t offset) = 0;
  virtual bool can_zero() const { return false; }
  virtual void zero(std::uint64_t offset, std::uint64_t length);
};

// `log` gets what is refused. `multicast` may be null. Null if the name is a disk's. Throws Error
// for a name that is not complete, or what the store says.
std::unique_ptr<ReservedExport> open_reserved_export(Store& store, StationHub& hub,
                                                     MulticastService* multicast,
                                                     std::string_view name, Peer peer,
                                                     std::function<void(const std::string&)> log);

}  // namespace plydisk
