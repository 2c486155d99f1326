#include "store/scratch_disk.hpp"

#include <cstdlib>

#include "base/error.hpp"
#include "base/uuid.hpp"

namespace plydisk {

ScratchDisk::ScratchDisk(const std::string& image, const std::string& overlay_folder,
                         const NbdOptions& nbd)
    : overlay_folder_(overlay_folder) {
  if (overlay_folder_.empty()) {
    const char* const temporary = std::getenv("TMPDIR");
    overlay_folder_ = temporary != nullptr && *temporary != '\0' ? temporary : "/var/tmp";
  }
  if (!std::filesystem::is_directory(overlay_folder_))
    throw Error(ENOENT, "there is no folder " + overlay_folder_.string() +
                            " for the overlay; name another with overlay=FOLDER");
  overlay_folder_ = std::filesystem::absolute(overlay_folder_);
  backing_ = open_backing(image, nbd);
  Stack stack;
  stack.version = std::make_shared<const Version>(backing_, std::vector<Version::FrozenLayer>{});
  disk_ = std::make_unique<Disk>(std::move(stack), false, false, [this] { begin(); });
}

ScratchDisk::~ScratchDisk() { stop(); }

void ScratchDisk::begin() {
  const std::string uuid = random_uuid();
  const auto folder = overlay_folder_ / ("plydisk-" + uuid);
  LayerOptions options;
  options.boot_id = boot_id();
  const auto layer = Layer::create(folder, {uuid, "", disk_->size()}, options);
  folder_ = folder;
  disk_->change([&](Stack& stack, bool&) { stack.layers = {layer}; });
}

void ScratchDisk::stop() {
  if (!backing_) return;
  backing_->stop_waiting();
  disk_->shut("the server is stopping");
  // The backing too: a connection to a server is closed as it should be.
  disk_->change([](Stack& stack, bool&) { stack = {}; });
  backing_.reset();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  folder_.clear();
}

}  // namespace plydisk
