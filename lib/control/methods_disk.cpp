// Reading a whole disk, as a session or a version has it.
#include <vector>

#include "control/methods.hpp"
#include "control/records.hpp"
#include "stack/stack.hpp"

namespace plydisk::methods {

namespace {

constexpr std::uint64_t longest_read = 4 << 20;       // bytes
constexpr std::size_t most_extents = 1000;            // in one answer
constexpr std::uint64_t extents_span = 64ULL << 30U;  // bytes that one call looks at

struct Range {
  std::uint64_t offset, length;
};

Range range_of(const DiskView& disk, const Params& params, std::uint64_t longest) {
  if (!disk.stack) throw Error(EBADF, "no disk is open: call disk.open first");
  const Range range{params.number("offset"), params.number("length")};
  const std::uint64_t size = disk.stack->version->size();
  if (range.offset > size || range.length > size - range.offset)
    params.refuse("the range ends behind the disk, which has " + std::to_string(size) + " bytes");
  if (range.length > longest)
    params.refuse("at most " + std::to_string(longest) + " bytes are given at once");
  return range;
}

}  // namespace

json disk_open(ControlService& service, DiskView& disk, const Params& params) {
  disk = {};
  if (const auto session = params.optional_text("session")) {
    disk = service.store().view_session(*session);
  } else {
    const std::uint64_t version = params.number("version");
    if (version > UINT32_MAX) params.refuse("there is no such version");
    disk = service.store().view_version(params.text("image"), static_cast<unsigned>(version));
  }
  return {{"size", disk.stack->version->size()}, {"moment", time_json(disk.moment)}};
}

json disk_read(ControlService&, DiskView& disk, const Params& params) {
  const auto [offset, length] = range_of(disk, params, longest_read);
  std::vector<std::uint8_t> bytes(length);
  disk.stack->read(bytes.data(), length, offset);
  return json::binary(std::move(bytes));
}

// It may end before the range does, after at least one extent.
json disk_extents(ControlService&, DiskView& disk, const Params& params) {
  const auto [offset, length] = range_of(disk, params, UINT64_MAX);
  json extents = json::array();
  std::uint64_t from = offset, to = offset;
  bool is_zero = false, full = false;
  disk.stack->for_each_extent(offset, std::min(length, extents_span),
                              [&](std::uint64_t at, std::uint64_t bytes, bool zero) {
                                if (full) return;
                                if (zero != is_zero && from != to) {
                                  extents.push_back({from, to - from, is_zero});
                                  from = at;
                                  full = extents.size() >= most_extents;
                                }
                                is_zero = zero;
                                to = at + bytes;
                              });
  if (!full && from != to) extents.push_back({from, to - from, is_zero});
  return extents;
}

}  // namespace plydisk::methods
