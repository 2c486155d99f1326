// Hashes of versions: made when a version is, and compared when somebody asks.
//
// Those of an image's backing are taken away before it is written directly, and not believed while
// it is.
#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/frozen_index.hpp"
#include "stack/chunk_hashes.hpp"
#include "store/version_work.hpp"

namespace plydisk {

std::filesystem::path StoreImpl::hashes_folder(const ImageRecord& image) const {
  return directory_ / "images" / image.name;
}

std::vector<Version::FrozenLayer> StoreImpl::frozen_layers(const VersionRecord& version) {
  std::vector<Version::FrozenLayer> layers;
  for (const auto& uuid : version.layers) {
    const auto record = catalogue_.find_layer(uuid);
    if (!record) throw Error(EUCLEAN, "the catalogue has no layer " + uuid);
    layers.push_back({{record->uuid, record->parent, record->size}, layer_folder(uuid)});
  }
  return layers;
}

namespace {

// Compares what chunks of a version hash to with what they should.
class HashComparison {
 public:
  HashComparison(const Stack& stack, const Progress& progress, Verification& result)
      : stack_(stack),
        progress_(progress),
        result_(result),
        is_known_(chunk_count(stack.version->size())) {}

  // Of a layer, the newest first; what a newer one has is not looked at again. `some`: of these
  // chunks alone, in rising order.
  void take(ChunkHashes& hashes, const std::string& layer,
            const std::optional<std::vector<std::uint64_t>>& some) {
    const auto add_unknown = [&](std::uint64_t chunk, const ChunkHash& hash) {
      if (!is_known_[chunk]) add(chunk, hash, layer);
    };
    if (some)
      hashes.for_each_of(*some, add_unknown);
    else
      hashes.for_each(add_unknown);
    for (const std::uint64_t chunk : chunks_) is_known_[chunk] = true;
    compare();
  }
  // Of a layer that has no hashes, where those of the layers below say nothing.
  void skip(std::uint64_t chunk) { is_known_[chunk] = true; }
  // Chunks that the backing had no data of when it was hashed: they are to be zeros.
  void take_rest(const std::vector<std::uint64_t>& chunks) {
    for (const std::uint64_t chunk : chunks)
      if (!is_known_[chunk])
        add(chunk, hash_of(std::vector<std::byte>(chunk_length(chunk, stack_.version->size()))),
            "");
    compare();
  }

 private:
  void add(std::uint64_t chunk, const ChunkHash& hash, const std::string& layer) {
    layer_ = layer;
    chunks_.push_back(chunk);
    expected_.push_back(hash);
  }

  void compare() {
    std::size_t at = 0;
    hash_chunks(stack_, chunks_, progress_, [&](std::uint64_t chunk, const ChunkHash& hash) {
      if (hash != expected_[at++]) result_.damaged.push_back({chunk * chunk_size, layer_});
    });
    result_.chunks += chunks_.size();
    chunks_.clear();
    expected_.clear();
  }

  const Stack& stack_;
  const Progress& progress_;
  Verification& result_;
  std::vector<bool> is_known_;
  std::string layer_;
  std::vector<std::uint64_t> chunks_;
  std::vector<ChunkHash> expected_;
};

// The chunks of which the backing has data, in order.
std::vector<std::uint64_t> chunks_with_data(const Backing& backing) {
  std::vector<std::uint64_t> chunks;
  backing.for_each_extent(0, backing.size(),
                          [&](std::uint64_t at, std::uint64_t length, bool is_zero) {
                            if (is_zero || length == 0) return;
                            std::uint64_t chunk = at / chunk_size;
                            if (!chunks.empty() && chunks.back() == chunk) ++chunk;
                            for (; chunk * chunk_size < at + length; ++chunk)
                              chunks.push_back(chunk);
                          });
  return chunks;
}

// Whether the chunk reads partly as what lies below the layer. `disk_size` in bytes.
bool shows_what_is_below(const ChunkChange& row, std::uint64_t disk_size) {
  const auto sectors = static_cast<unsigned>(chunk_length(row.chunk, disk_size) / sector_size);
  return !(SectorSet::range(0, sectors) & ~row.state.valid).empty();
}

}  // namespace

// Looks for damage in all chunks that have hashes, or in some, of the disk that these layers make.
Verification StoreImpl::compare_with_hashes(const ImageRecord& image, const Stack& stack,
                                            const std::vector<Version::FrozenLayer>& layers,
                                            const std::optional<std::vector<std::uint64_t>>& some,
                                            const Progress& progress) const {
  Verification result;
  HashComparison comparison(stack, progress, result);
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const auto& [identity, folder] = *layer;
    if (const auto hashes = ChunkHashes::open(folder, identity.uuid, identity.disk_size))
      comparison.take(*hashes, identity.uuid, some);
    else
      load_frozen_index(folder / SectorIndex::file_name, identity,
                        [&](const ChunkChange& row) { comparison.skip(row.chunk); });
  }
  if (!image.backing_dirty) {
    if (const auto hashes = ChunkHashes::open(hashes_folder(image), image.uuid, image.size)) {
      comparison.take(*hashes, "", some);
      comparison.take_rest(some ? *some : chunks_with_data(stack.version->backing()));
    }
  }
  std::ranges::sort(result.damaged, {}, &DamagedChunk::offset);
  return result;
}

// Of the layers that have none. What is damaged already, below a layer that has a part of it, does
// not become sound by that: it is in the result, and has no hash that a chunk can have.
Verification StoreImpl::hash_layers(const ImageRecord& image, const VersionRecord& version,
                                    const Progress& progress) {
  const auto layers = frozen_layers(version);
  Verification result;
  const auto whole = load_version(image, version.number, nullptr);
  // As the disk reads through so many layers, and not through those above.
  const auto lowest = [&](std::size_t count) {
    return std::vector(layers.begin(), layers.begin() + static_cast<std::ptrdiff_t>(count));
  };
  const auto stack_of = [&](std::size_t count) {
    Stack stack;
    stack.version = count == layers.size()
                        ? whole
                        : std::make_shared<const Version>(whole->shared_backing(), lowest(count));
    return stack;
  };
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerIdentity& identity = layers[i].identity;
    const auto& folder = layers[i].folder;
    if (ChunkHashes::open(folder, identity.uuid, identity.disk_size)) continue;
    std::vector<std::uint64_t> chunks, partial;
    load_frozen_index(folder / SectorIndex::file_name, identity, [&](const ChunkChange& row) {
      chunks.push_back(row.chunk);
      if (shows_what_is_below(row, identity.disk_size)) partial.push_back(row.chunk);
    });
    std::vector<DamagedChunk> damaged;
    if (!partial.empty())
      damaged = compare_with_hashes(image, stack_of(i), lowest(i), partial, progress).damaged;
    ChunkHashWriter writer(folder, identity.uuid, identity.disk_size);
    auto next = damaged.begin();
    hash_chunks(stack_of(i + 1), chunks, progress, [&](std::uint64_t chunk, const ChunkHash& hash) {
      const bool is_damaged = next != damaged.end() && next->offset == chunk * chunk_size;
      writer.add(chunk, is_damaged ? damaged_chunk : hash);
      if (is_damaged) result.damaged.push_back({(next++)->offset, identity.uuid});
    });
    writer.finish();
    result.added += chunks.size();
  }
  return result;
}

// The same for the backing, if it has no hashes. It may be written directly meanwhile: then what
// was hashed is of no use.
std::uint64_t StoreImpl::hash_backing(const ImageRecord& image, const Progress& progress) {
  const auto folder = hashes_folder(image);
  if (ChunkHashes::open(folder, image.uuid, image.size)) return 0;
  if (image.backing_dirty)
    throw Error(EBUSY, "image " + quote(image.name) +
                           " is being written directly, so it has no hashes; end that session "
                           "first");
  // Linked images have no folder of their own before.
  if (!std::filesystem::exists(folder)) create_directory_durably(folder);
  const auto changed = [&] {
    const ImageRecord now = catalogue_.image(image.name);
    return now.backing_dirty || now.writer != image.writer || now.uuid != image.uuid;
  };
  Stack stack;
  stack.version = std::make_shared<const Version>(
      load_version(image, image.published, nullptr)->shared_backing(),
      std::vector<Version::FrozenLayer>{});
  const std::vector<std::uint64_t> chunks = chunks_with_data(stack.version->backing());
  ChunkHashWriter writer(folder, image.uuid, image.size);
  static const ChunkHash zeros = hash_of(std::vector<std::byte>(chunk_size));
  hash_chunks(stack, chunks, progress, [&](std::uint64_t chunk, const ChunkHash& hash) {
    if (hash != zeros) writer.add(chunk, hash);
  });
  if (!changed()) writer.finish();
  if (changed()) ChunkHashes::remove(folder);
  return chunks.size();
}

// All of a version that has no hashes yet. Linked images are read for them only when somebody asks.
void StoreImpl::hash_version(const std::string& name, unsigned number, const Progress& progress) {
  const std::string is_there =
      "version " + std::to_string(number) + " of image " + quote(name) + " is there, but ";
  const std::string verify = "plydisk version verify " + name + " " + std::to_string(number);
  std::vector<DamagedChunk> damaged;
  try {
    const ImageRecord image = catalogue_.image(name);
    if (!image.linked) hash_backing(image, progress);
    damaged = hash_layers(image, catalogue_.version(name, number), progress).damaged;
  } catch (const Error& error) {
    throw Error(error.code(),
                is_there + "has no hashes: " + error.what() + "; make them with: " + verify);
  }
  if (damaged.empty()) return;
  const DamagedChunk& first = damaged.front();
  const std::size_t others = damaged.size() - 1;
  throw Error(
      EUCLEAN,
      is_there + "what it lies on is damaged: " +
          std::to_string(chunk_length(first.offset / chunk_size, catalogue_.image(name).size)) +
          " bytes at " + std::to_string(first.offset) +
          (others == 0 ? "" : ", and " + std::to_string(others) + " other places") +
          "; see: " + verify);
}

Verification StoreImpl::verify_version(const std::string& name, unsigned given,
                                       const Progress& progress) {
  const VersionWork work(*this, name);
  const ImageRecord image = catalogue_.image(name);
  const unsigned number = given == 0 ? image.published : given;
  const VersionRecord version = catalogue_.version(name, number);
  const DiskView view = view_version(name, number);
  Verification result =
      compare_with_hashes(image, *view.stack, frozen_layers(version), std::nullopt, progress);
  if (!result.damaged.empty()) return result;
  const std::uint64_t added = image.backing_dirty ? 0 : hash_backing(image, progress);
  const Verification hashed = hash_layers(image, version, progress);
  result.added = added + hashed.added;
  result.damaged = hashed.damaged;
  return result;
}

std::vector<std::optional<ChunkHash>> StoreImpl::chunk_hashes(const std::string& name,
                                                              unsigned number, std::uint64_t first,
                                                              std::size_t count) {
  const ImageRecord image = catalogue_.image(name);
  const std::uint64_t end = std::min(first + count, chunk_count(image.size));
  std::vector<std::uint64_t> wanted;
  for (std::uint64_t chunk = first; chunk < end; ++chunk) wanted.push_back(chunk);
  std::vector<std::optional<ChunkHash>> result(wanted.size());
  if (image.backing_dirty) return result;
  std::vector<bool> is_decided(wanted.size());
  const auto decide = [&](std::uint64_t chunk, const std::optional<ChunkHash>& hash) {
    if (chunk < first || chunk >= end || is_decided[chunk - first]) return;
    is_decided[chunk - first] = true;
    if (hash != damaged_chunk) result[chunk - first] = hash;
  };
  const auto layers = frozen_layers(catalogue_.version(name, number));
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const auto& [identity, folder] = *layer;
    if (const auto hashes = ChunkHashes::open(folder, identity.uuid, identity.disk_size))
      hashes->for_each_of(wanted, decide);
    else
      load_frozen_index(folder / SectorIndex::file_name, identity,
                        [&](const ChunkChange& row) { decide(row.chunk, std::nullopt); });
  }
  const auto hashes = ChunkHashes::open(hashes_folder(image), image.uuid, image.size);
  if (!hashes) return result;
  hashes->for_each_of(wanted, decide);
  // The others have no data, or have zeros.
  static const ChunkHash zeros = hash_of(std::vector<std::byte>(chunk_size));
  for (const std::uint64_t chunk : wanted) {
    const std::size_t length = chunk_length(chunk, image.size);
    if (!is_decided[chunk - first])
      decide(chunk, length == chunk_size ? zeros : hash_of(std::vector<std::byte>(length)));
  }
  return result;
}

}  // namespace plydisk
