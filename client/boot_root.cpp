#include "boot_root.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>

#include "base/error.hpp"

namespace plydisk {

namespace {

void mount_at(const char* type, const std::filesystem::path& folder, unsigned long flags,
              const char* data) {
  std::filesystem::create_directories(folder);
  if (::mount(type, folder.c_str(), type, flags, data) != 0)
    throw_errno("cannot mount " + std::string(type) + " on " + folder.string());
}

void copy_tree(const std::filesystem::path& from, const std::filesystem::path& to) {
  struct stat status {};
  if (::stat(from.c_str(), &status) != 0) throw_errno("cannot read " + from.string());
  const dev_t device = status.st_dev;
  using Options = std::filesystem::copy_options;
  for (auto entry = std::filesystem::recursive_directory_iterator(from);
       entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    const auto target = to / entry->path().lexically_relative(from);
    if (::lstat(entry->path().c_str(), &status) != 0)
      throw_errno("cannot read " + entry->path().string());
    // What is mounted in there, the copy too, is not the tree's.
    if (entry->is_directory() && !entry->is_symlink() &&
        (status.st_dev != device || entry->path() == to)) {
      entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_directory() && !entry->is_symlink())
      std::filesystem::create_directory(target, entry->path());
    else
      std::filesystem::copy(entry->path(), target, Options::copy_symlinks);
  }
}

}  // namespace

void make_boot_root(const std::filesystem::path& runtime, const std::filesystem::path& root) {
  // The copy is as large as the tree; what is written later goes to run/plydisk.
  mount_at("tmpfs", root, MS_NOSUID, "mode=0755");
  try {
    copy_tree(runtime, root);
    for (const char* const folder : {"tmp", "etc", "oldroot"})
      std::filesystem::create_directories(root / folder);
    // One of its own: when systemd makes this the root, it mounts the system's /run where none is.
    mount_at("tmpfs", root / "run", MS_NOSUID | MS_NODEV, "mode=0755");
    mount_at("proc", root / "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    mount_at("sysfs", root / "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    mount_at("devtmpfs", root / "dev", MS_NOSUID, "mode=0755");
    std::filesystem::create_directory(root / "run/plydisk");
  } catch (const std::filesystem::filesystem_error& error) {
    ::umount2(root.c_str(), MNT_DETACH);
    throw Error(error.code().value(), std::string("cannot copy the programs: ") + error.what());
  } catch (...) {
    ::umount2(root.c_str(), MNT_DETACH);
    throw;
  }
}

}  // namespace plydisk
