// Looking after the store as a whole: what nothing refers to, and whether all is sound.
#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "stack/chunk_hashes.hpp"
#include "stack/merge_layers.hpp"
#include "store/version_work.hpp"

namespace plydisk {

namespace {

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (entry.path().filename() != "lost+found") entries.push_back(entry.path());
  std::ranges::sort(entries);
  return entries;
}

// The store's own, which is removed at the next start.
bool is_unfinished(const std::filesystem::path& path) {
  return path.filename().string().starts_with(".");
}

bool has(const std::vector<std::string>& names, const std::filesystem::path& path) {
  return std::ranges::find(names, path.filename().string()) != names.end();
}

}  // namespace

Garbage StoreImpl::collect_garbage(bool dry_run, bool unknown) {
  Garbage garbage;
  for (const VersionRecord& version : unused_versions()) {
    garbage.versions.emplace_back(version.image, version.number);
    if (!dry_run) remove_version(version);
  }
  collect_folders(dry_run, unknown, garbage);
  for (const ImageRecord& image : catalogue_.images())
    garbage.freed += free_unused_places(image.name, dry_run);
  return garbage;
}

// What a merge that was killed has left in the files of layers that stay. Nothing while a verb
// works on the image's versions: a merge that goes on uses those places.
std::uint64_t StoreImpl::free_unused_places(const std::string& image, bool dry_run) {
  std::optional<VersionWork> work;
  try {
    work.emplace(*this, image);
  } catch (const Error&) {
    return 0;
  }
  std::uint64_t freed = 0;
  std::set<std::string> seen;
  for (const VersionRecord& version : catalogue_.versions(image))
    for (const Version::FrozenLayer& layer : frozen_layers(version)) {
      if (!seen.insert(layer.identity.uuid).second) continue;
      try {
        freed += free_unused(layer, dry_run);
      } catch (const Error&) {
        // One that is damaged: check() tells.
      }
    }
  return freed;
}

// Nobody makes an image, a layer or a version while connect_mutex_ is held, except for layers that
// are being written for a version; those are announced, and so known.
void StoreImpl::collect_folders(bool dry_run, bool unknown, Garbage& garbage) {
  const std::lock_guard connect(connect_mutex_);
  const std::vector<std::string> doomed_images = catalogue_.doomed_images();
  std::vector<std::string> known_layers = catalogue_.doomed_layers();
  for (const LayerRecord& layer : catalogue_.layers()) known_layers.push_back(layer.uuid);
  std::vector<std::string> known_images;
  for (const ImageRecord& image : catalogue_.images()) known_images.push_back(image.name);

  std::vector<std::filesystem::path> doomed, strange;
  for (const auto& path : entries_of(directory_ / "images")) {
    if (has(doomed_images, path))
      doomed.push_back(path);
    else if (!has(known_images, path) && !is_unfinished(path))
      strange.push_back(path);
  }
  for (const auto& path : entries_of(directory_ / "layers"))
    if (!has(known_layers, path)) strange.push_back(path);
  // A capture that is under way has its folder locked.
  for (const auto& path : entries_of(directory_ / captures_name))
    if (!is_unfinished(path) && (!std::filesystem::is_directory(path) || lock_directory(path)))
      strange.push_back(path);

  const auto remove = [&](const std::filesystem::path& path) {
    garbage.folders.push_back(path.lexically_relative(directory_).string());
    garbage.freed += allocated_in(path);
    if (!dry_run) remove_tree(path);
  };
  for (const auto& path : doomed) remove(path);
  for (const auto& path : strange) {
    if (unknown)
      remove(path);
    else
      garbage.unknown.push_back(path.lexically_relative(directory_).string());
  }
  if (dry_run) return;
  sync_directory(directory_ / "images");
  sync_directory(directory_ / "layers");
  with_reserve([&] {
    for (const auto& name : doomed_images) catalogue_.forget_doomed_image(name);
  });
}

StoreCheck StoreImpl::check(const Progress& progress) {
  StoreCheck check;
  const auto try_to = [&](const std::string& what, const auto& fn) {
    try {
      fn();
    } catch (const Error& error) {
      check.faults.push_back(what + ": " + error.what());
    }
  };
  for (const std::string& fault : catalogue_.find_faults())
    check.faults.push_back("the catalogue: " + fault);

  const std::vector<LayerRecord> layers = catalogue_.layers();
  for (const LayerRecord& layer : layers) {
    for (const std::string& fault : check_layer(layer.uuid)) {
      // Its session may have ended meanwhile.
      if (catalogue_.find_layer(layer.uuid))
        check.faults.push_back("layer " + layer.uuid + ": " + fault);
    }
    ++check.layers;
    if (progress) progress(check.layers, layers.size());
  }
  for (const ImageRecord& image : catalogue_.images()) {
    ++check.images;
    const std::string name = "image " + quote(image.name);
    try_to(name, [&] { check_backing(image); });
    try_to(name, [&] {
      if (image.linked || image.backing_dirty) return;
      if (!ChunkHashes::open(hashes_folder(image), image.uuid, image.size))
        check.remarks.push_back(name + " has no hashes; make them with: plydisk version verify " +
                                image.name + " 1");
    });
    for (const VersionRecord& version : catalogue_.versions(image.name)) {
      ++check.versions;
      const std::string number = std::to_string(version.number);
      try_to(name + ", version " + number, [&] {
        const auto frozen = frozen_layers(version);
        for (const auto& [identity, folder] : frozen)
          if (!ChunkHashes::open(folder, identity.uuid, identity.disk_size)) {
            check.remarks.push_back(name + ", version " + number +
                                    " has no hashes; make them with: plydisk version verify " +
                                    image.name + " " + number);
            break;
          }
        if (version.state == "retired")
          check.remarks.push_back(name + ", version " + number +
                                  " was merged, and stays until its last session has ended");
      });
    }
  }
  Garbage garbage;
  collect_folders(true, false, garbage);
  for (const std::string& folder : garbage.unknown)
    check.remarks.push_back(folder + " is in no record; see: plydisk gc");
  return check;
}

}  // namespace plydisk
