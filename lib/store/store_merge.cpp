// Versions against each other: layers that become one, and what differs.
#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "layer/frozen_index.hpp"
#include "stack/chunk_hashes.hpp"
#include "stack/merge_layers.hpp"
#include "store/version_work.hpp"

namespace plydisk {

namespace {

std::string sentence_begin(const VersionRecord& version) {
  return "version " + std::to_string(version.number) + " of image " + quote(version.image);
}

// Whether one has all the layers of the other at its bottom.
bool is_made_on(const VersionRecord& version, const VersionRecord& below) {
  return version.layers.size() >= below.layers.size() &&
         std::equal(below.layers.begin(), below.layers.end(), version.layers.begin());
}

}  // namespace

// The newest layer's data file has copies by then, in places that it does not use.
void StoreImpl::give_merge_up(const LayerRecord& merged,
                              const Version::FrozenLayer& newest) noexcept {
  remove_layers({merged});
  try {
    free_unused(newest, false);
  } catch (const std::exception&) {
    // Garbage collection tries again.
  }
}

MergeResult StoreImpl::merge_versions(const std::string& name, unsigned first, unsigned last,
                                      const Progress& progress) {
  const VersionWork work(*this, name);
  const ImageRecord image = catalogue_.image(name);
  const VersionRecord oldest = catalogue_.version(name, first);
  const VersionRecord newest = catalogue_.version(name, last);
  if (first >= last)
    throw Error(EINVAL, "merging needs two versions, the older one first: FIRST..LAST");
  for (const VersionRecord& version : {oldest, newest})
    if (version.state != "frozen" && version.state != "published")
      throw Error(EINVAL, sentence_begin(version) + " is " + version.state +
                              ", so it can't be merged" +
                              (version.state == "open" ? "; close it first" : ""));
  if (!is_made_on(newest, oldest))
    throw Error(EINVAL, sentence_begin(newest) + " is not made on version " +
                            std::to_string(first) + ", so they have nothing to merge");

  // What lies between them goes.
  std::vector<unsigned> retired;
  for (const VersionRecord& version : catalogue_.versions(name)) {
    const bool is_between = version.number != last && version.state != "open" &&
                            version.state != "retired" && is_made_on(version, oldest) &&
                            is_made_on(newest, version);
    if (!is_between) continue;
    if (version.state == "published")
      throw Error(EBUSY, sentence_begin(version) + " is published, and would go; publish version " +
                             std::to_string(last) + " first");
    if (!version.testers.empty())
      throw Error(EBUSY, sentence_begin(version) + " is tested by station " +
                             quote(version.testers.front()) +
                             ", and would go; let it test version " + std::to_string(last) +
                             " first");
    retired.push_back(version.number);
  }

  // The oldest one's own layer is the topmost that it has.
  const std::size_t from = oldest.layers.empty() ? 0 : oldest.layers.size() - 1;
  const std::vector<std::string> merged(newest.layers.begin() + static_cast<std::ptrdiff_t>(from),
                                        newest.layers.end());
  MergeResult result;
  result.layers = static_cast<unsigned>(merged.size());
  LayerRecord record;
  const auto layers = frozen_layers(newest);
  bool is_recorded = false;
  try {
    if (merged.size() > 1) {
      record = new_version_layer(
          name, {newest.layers.begin(), newest.layers.begin() + static_cast<std::ptrdiff_t>(from)},
          image.size);
      catalogue_.announce_layer(record.uuid);
      result.copied = merge_layers(
          {layers.begin() + static_cast<std::ptrdiff_t>(from), layers.end()},
          {{record.uuid, record.parent, record.size}, directory_ / "layers" / record.uuid},
          progress);
    }
    record_versions_in_use(name);
    const std::lock_guard connect(connect_mutex_);
    drop_version_layers(name, "", [&] {
      catalogue_.merge_layers(name, merged,
                              merged.size() > 1 ? std::optional(record) : std::nullopt, retired);
      is_recorded = true;
    });
    // Those that are opened from now on read the merged layer.
    for (const VersionRecord& version : catalogue_.versions(name))
      forget_version(name, version.number);
  } catch (...) {
    if (!is_recorded && merged.size() > 1) give_merge_up(record, layers.back());
    throw;
  }
  remove_unused_versions();
  for (const unsigned number : retired) {
    const auto versions = catalogue_.versions(name);
    const bool is_there =
        std::ranges::any_of(versions, [&](const auto& one) { return one.number == number; });
    (is_there ? result.still_in_use : result.removed).push_back(number);
  }
  return result;
}

namespace {

// The chunks of which any layer that is not in both versions holds something, in order.
std::vector<std::uint64_t> chunks_that_may_differ(const std::vector<Version::FrozenLayer>& a,
                                                  const std::vector<Version::FrozenLayer>& b) {
  std::size_t common = 0;
  while (common < std::min(a.size(), b.size()) &&
         a[common].identity.uuid == b[common].identity.uuid)
    ++common;
  std::vector<std::uint64_t> chunks;
  for (const auto* layers : {&a, &b})
    for (std::size_t i = common; i < layers->size(); ++i)
      load_frozen_index((*layers)[i].folder / SectorIndex::file_name, (*layers)[i].identity,
                        [&](const ChunkChange& row) { chunks.push_back(row.chunk); });
  std::ranges::sort(chunks);
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

}  // namespace

VersionDifference StoreImpl::compare_versions(const std::string& name, unsigned before,
                                              unsigned after, const Progress& progress) {
  const VersionWork work(*this, name);
  const ImageRecord image = catalogue_.image(name);
  const DiskView a = view_version(name, before), b = view_version(name, after);
  const auto chunks = chunks_that_may_differ(frozen_layers(catalogue_.version(name, before)),
                                             frozen_layers(catalogue_.version(name, after)));
  VersionDifference difference;
  std::vector<std::byte> there(chunk_size), here(chunk_size);
  std::uint64_t done = 0;
  for (const std::uint64_t chunk : chunks) {
    const std::uint64_t begin = chunk * chunk_size;
    const std::size_t length = chunk_length(chunk, image.size);
    a.stack->read(there.data(), length, begin);
    b.stack->read(here.data(), length, begin);
    for (std::size_t at = 0; at < length; at += sector_size) {
      if (std::memcmp(&there[at], &here[at], sector_size) == 0) continue;
      ++difference.sectors;
      auto& ranges = difference.ranges;
      if (!ranges.empty() && ranges.back().offset + ranges.back().length == begin + at)
        ranges.back().length += sector_size;
      else
        ranges.push_back({begin + at, sector_size});
    }
    if (progress && ++done % 64 == 0) progress(done * chunk_size, chunks.size() * chunk_size);
  }
  return difference;
}

}  // namespace plydisk
