#include "building/xfs_protofile.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

class Protofile {
 public:
  Protofile(const fs::path& tree, const std::string& fstab) : tree_(tree), fstab_(fstab) {
    // What it would boot from, and how many blocks and inodes it has: not used any more.
    made_.text = "/\n0 0\n" + mode_of('d', status(tree)) + "\n";
    add_folder(tree, 1);
  }
  XfsProtofile take() { return std::move(made_); }

 private:
  static struct stat status(const fs::path& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) throw_errno("cannot read " + path.string());
    return info;
  }

  // Such as "d--755 0 0".
  static std::string mode_of(char type, const struct stat& info) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%c%c%c%03o %u %u", type,
                  (info.st_mode & S_ISUID) != 0 ? 'u' : '-',
                  (info.st_mode & S_ISGID) != 0 ? 'g' : '-', info.st_mode & 0777U, info.st_uid,
                  info.st_gid);
    return text.data();
  }

  void add_line(const std::string& name, const std::string& what, unsigned depth) {
    made_.text += std::string(depth, ' ') + name + " " + what + "\n";
  }

  void add_folder(const fs::path& folder, unsigned depth) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
    std::ranges::sort(paths);
    for (const fs::path& path : paths) add(path, depth);
    if (!fstab_.empty() && folder == tree_ / "etc" && !fs::exists(folder / "fstab"))
      add_line("fstab", "---644 0 0 " + fstab_, depth);
    made_.text += std::string(depth - 1, ' ') + "$\n";
  }

  void add(const fs::path& path, unsigned depth) {
    const struct stat info = status(path);
    const std::string name = path.filename();
    if ((info.st_mode & S_ISVTX) != 0) {
      std::array<char, 16> mode{};
      std::snprintf(mode.data(), mode.size(), "0%o", info.st_mode);
      made_.corrections.push_back("path /" + path.lexically_relative(tree_).string());
      made_.corrections.push_back(std::string("write core.mode ") + mode.data());
    }
    const auto device = [&](char type) {
      add_line(name,
               mode_of(type, info) + " " + std::to_string(major(info.st_rdev)) + " " +
                   std::to_string(minor(info.st_rdev)),
               depth);
    };
    if (S_ISDIR(info.st_mode)) {
      add_line(name, mode_of('d', info), depth);
      add_folder(path, depth + 1);
    } else if (S_ISREG(info.st_mode)) {
      const bool is_fstab = !fstab_.empty() && path == tree_ / "etc/fstab";
      add_line(name, mode_of('-', info) + " " + (is_fstab ? fstab_ : path.string()), depth);
    } else if (S_ISLNK(info.st_mode)) {
      add_line(name, mode_of('l', info) + " " + fs::read_symlink(path).string(), depth);
    } else if (S_ISCHR(info.st_mode)) {
      device('c');
    } else if (S_ISBLK(info.st_mode)) {
      device('b');
    } else if (S_ISFIFO(info.st_mode)) {
      add_line(name, mode_of('p', info), depth);
    }
  }

  const fs::path tree_;
  const std::string fstab_;
  XfsProtofile made_;
};

}  // namespace

XfsProtofile make_xfs_protofile(const fs::path& tree, const std::string& fstab) {
  return Protofile(tree, fstab).take();
}

}  // namespace plydisk
