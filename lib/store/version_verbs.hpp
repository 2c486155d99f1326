// What the verbs about versions give back.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace plydisk {

struct MergeResult {
  std::uint64_t copied = 0;            // bytes
  unsigned layers = 0;                 // that became one
  std::vector<unsigned> removed;       // versions that are gone
  std::vector<unsigned> still_in_use;  // versions that go when their last session ends
};

struct ByteRange {
  std::uint64_t offset, length;  // bytes
};

struct VersionDifference {
  std::uint64_t sectors = 0;      // that differ
  std::vector<ByteRange> ranges;  // where, in order
};

// A chunk that does not read as it did when it was hashed.
struct DamagedChunk {
  std::uint64_t offset;  // bytes
  std::string layer;     // uuid of the newest layer that has a part in it; empty: the backing
};

struct Verification {
  std::uint64_t chunks = 0;  // that were compared
  std::uint64_t added = 0;   // that had no hash yet, and have one now
  std::vector<DamagedChunk> damaged;
};

struct Garbage {
  std::vector<std::pair<std::string, unsigned>> versions;  // of images
  std::vector<std::string> folders;                        // below the store's, removed
  std::vector<std::string> unknown;  // that no record speaks of; they stay without --unknown
  std::uint64_t freed = 0;           // bytes
};

struct StoreCheck {
  unsigned images = 0, versions = 0, layers = 0;
  std::vector<std::string> faults;   // sentences
  std::vector<std::string> remarks;  // what is no fault, but could be better
};

}  // namespace plydisk
