// nbdkit-plydisk-view-plugin: one disk of a store, to be read: a version's, or a session's as it is
// now. For programs that read disks over NBD and are no stations, such as qemu-img.
//
// Unlike nbdkit-plydisk-plugin it does not serve the store: it asks the process that does, or opens
// it itself while there is none.

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "control/store_caller.hpp"
#include "guard.hpp"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace {

using namespace plydisk;

std::string store_folder;
nlohmann::json disk_asked = nlohmann::json::object();  // the parameters of disk.open

class ViewedDisk {
 public:
  ViewedDisk() : caller_(store_folder, {}), disk_(caller_.open_disk(disk_asked)) {}

  OpenDisk& disk() { return *disk_; }

  // Calls fn(extent) for those of the range, in order, until it returns false.
  template <typename Fn>
  void for_each_extent(std::uint64_t offset, std::uint64_t end, Fn&& fn) {
    const std::lock_guard lock(mutex_);
    while (offset < end) {
      const auto ends_behind = [&](const auto& extent) {
        return extent.offset + extent.length > offset;
      };
      // They are in order, so it is the first one, unless a gap says that others were asked for.
      auto extent = std::ranges::find_if(extents_, ends_behind);
      if (extent == extents_.end() || extent->offset > offset || !disk_->is_frozen()) {
        extents_ = disk_->extents(offset);
        extent = extents_.begin();
      }
      const std::uint64_t stop = std::min(end, extent->offset + extent->length);
      if (!fn(offset, stop - offset, extent->is_zero)) return;
      offset = stop;
    }
  }

 private:
  StoreCaller caller_;
  const std::unique_ptr<OpenDisk> disk_;
  std::mutex mutex_;  // protects the next
  std::vector<OpenDisk::Extent> extents_;
};

ViewedDisk& viewed(void* handle) { return *static_cast<ViewedDisk*>(handle); }

int view_config(const char* key, const char* value) {
  return guarded(-1, [&] {
    const std::string name = key;
    if (name == "store") {
      const std::unique_ptr<char, decltype(&free)> path(nbdkit_absolute_path(value), free);
      if (!path) return -1;
      store_folder = path.get();
    } else if (name == "version") {
      unsigned number = 0;
      if (nbdkit_parse_unsigned(key, value, &number) != 0) return -1;
      disk_asked[name] = number;
    } else if (name == "image" || name == "session") {
      disk_asked[name] = value;
    } else {
      throw Error(EINVAL,
                  "unknown parameter " + name + "; there are: store, image, version, session");
    }
    return 0;
  });
}

int view_config_complete() {
  return guarded(-1, [] {
    if (store_folder.empty() || disk_asked.contains("image") == disk_asked.contains("session") ||
        disk_asked.contains("image") != disk_asked.contains("version"))
      throw Error(EINVAL, "give store=FOLDER, and image=NAME version=NUMBER or session=ID");
    return 0;
  });
}

void* view_open(int) {
  return guarded(static_cast<void*>(nullptr),
                 []() -> void* { return std::make_unique<ViewedDisk>().release(); });
}

void view_close(void* handle) { delete &viewed(handle); }

int64_t view_get_size(void* handle) { return static_cast<int64_t>(viewed(handle).disk().size()); }

int view_can_extents(void*) { return 1; }

int view_pread(void* handle, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  return guarded(-1, [&] {
    // Less than what a server of the store gives at once.
    constexpr std::uint32_t longest_read = 1 << 20;
    for (std::uint32_t done = 0; done < count;) {
      const std::uint32_t piece = std::min(longest_read, count - done);
      viewed(handle).disk().read(static_cast<char*>(buffer) + done, piece, offset + done);
      done += piece;
    }
    return 0;
  });
}

int view_extents(void* handle, uint32_t count, uint64_t offset, uint32_t flags,
                 struct nbdkit_extents* extents) {
  return guarded(-1, [&] {
    int result = 0;
    viewed(handle).for_each_extent(
        offset, offset + count, [&](std::uint64_t at, std::uint64_t length, bool is_zero) {
          const uint32_t type = is_zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0U;
          result = nbdkit_add_extent(extents, at, length, type);
          return result == 0 && (flags & NBDKIT_FLAG_REQ_ONE) == 0;
        });
    return result;
  });
}

nbdkit_plugin make_view_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "plydisk-view";
  plugin.longname = "plydisk: one disk of a store, to be read";
  plugin.version = PLYDISK_VERSION;
  plugin.description = "Gives programs a version's or a session's disk of a store to read";
  plugin.config = view_config;
  plugin.config_complete = view_config_complete;
  plugin.config_help =
      "store=FOLDER      The store.\n"
      "image=NAME version=NUMBER\n"
      "                  A version of an image;\n"
      "session=ID        or a session's disk, as it is when a client connects.";
  plugin.open = view_open;
  plugin.close = view_close;
  plugin.get_size = view_get_size;
  plugin.can_extents = view_can_extents;
  plugin.pread = view_pread;
  plugin.extents = view_extents;
  return plugin;
}

nbdkit_plugin view_plugin = make_view_plugin();

}  // namespace

NBDKIT_REGISTER_PLUGIN(view_plugin)
