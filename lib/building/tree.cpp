#include "building/tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t tree_block = 4096;  // bytes

struct stat look(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) throw_errno("cannot read " + path.string());
  return info;
}

void require_readable(const fs::path& path) {
  if (::access(path.c_str(), R_OK) == 0) return;
  throw Error(errno, "cannot read " + path.string() + ": " + std::strerror(errno) +
                         (::geteuid() == 0 ? "" : "; do this as root"));
}

void note(std::optional<fs::path>& place, const fs::path& path) {
  if (!place) place = path;
}

class Examination {
 public:
  explicit Examination(const fs::path& root) : device_(look(root).st_dev) { tree_.root = root; }

  void add(const fs::path& path) {
    const struct stat info = look(path);
    if (info.st_dev != device_)
      throw Error(EBUSY, "something is mounted on " + path.string() +
                             ", which is no part of the tree: unmount it first");
    ++tree_.entries;
    tree_.has_other_owners |= info.st_uid != ::geteuid();
    if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) require_readable(path);
    if (S_ISLNK(info.st_mode)) {
      note(tree_.link, path);
    } else if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
      note(tree_.special, path);
      if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) note(tree_.device, path);
    } else if (::llistxattr(path.c_str(), nullptr, 0) > 0) {
      note(tree_.attribute, path);
    }
    const std::string name = path.filename();
    if (std::ranges::any_of(name, [](unsigned char c) { return c <= ' ' || c == 0x7f; }))
      note(tree_.space, path);
    if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
      note(tree_.hard_link, path);
      if (!seen_.insert(info.st_ino).second) return;
    }
    const auto size = S_ISDIR(info.st_mode)   ? tree_block
                      : S_ISREG(info.st_mode) ? static_cast<std::uint64_t>(info.st_size)
                                              : 0;
    tree_.bytes += (size + tree_block - 1) / tree_block * tree_block;
  }

  Tree done() { return std::move(tree_); }

 private:
  Tree tree_;
  const dev_t device_;
  std::set<ino_t> seen_;  // of files with several names
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool is_uuid(const std::string& text) {
  return text.size() == 36 && text.find_first_not_of("0123456789abcdefABCDEF-") == text.npos;
}

// "X" of the first "KEYX" in the text that is a UUID.
std::string uuid_behind(const std::string& text, const std::string& key) {
  for (auto at = text.find(key); at != text.npos; at = text.find(key, at + 1)) {
    std::string uuid = text.substr(at + key.size(), 36);
    if (is_uuid(uuid)) return uuid;
  }
  return {};
}

}  // namespace

Tree examine_tree(const fs::path& root) {
  if (!fs::is_directory(root)) throw Error(ENOTDIR, root.string() + " is no folder");
  require_readable(root);
  Examination examination(root);
  for (const auto& entry : fs::recursive_directory_iterator(root)) examination.add(entry.path());
  return examination.done();
}

std::vector<Kernel> find_kernels(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root / "boot", ignored))
    if (entry.exists(ignored)) names.push_back(entry.path().filename());
  std::vector<Kernel> kernels = kernels_among(names);
  for (Kernel& kernel : kernels) {
    kernel.kernel = "/boot/" + kernel.kernel;
    if (!kernel.initrd.empty()) kernel.initrd = "/boot/" + kernel.initrd;
  }
  return kernels;
}

RootNames root_names(const fs::path& root) {
  RootNames names;
  names.fstab = text_of(root / "etc/fstab");
  std::istringstream lines(names.fstab);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string device, place;
    words >> device >> place;
    if (device.starts_with('#') || place != "/") continue;
    names.has_fstab_entry = true;
    names.file_system_uuid = uuid_behind("=" + device, "=UUID=");
    names.partition_uuid = uuid_behind(device, "PARTUUID=");
  }
  if (names.file_system_uuid.empty())
    names.file_system_uuid = uuid_behind(text_of(root / "boot/grub/grub.cfg"), "root=UUID=");
  return names;
}

}  // namespace plydisk
