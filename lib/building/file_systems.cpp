#include "building/file_systems.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/error.hpp"
#include "base/program.hpp"
#include "base/temporary_folder.hpp"
#include "base/units.hpp"
#include "building/xfs_protofile.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

struct Kind {
  const char* name;
  std::vector<Requirement> programs;
  std::uint64_t smallest;  // bytes
};

const std::vector<Kind>& all_kinds() {
  static const std::vector<Kind> kinds{
      {"ext4", {{"mke2fs", "e2fsprogs"}, {"debugfs", "e2fsprogs"}}, 8 * mebibyte},
      {"xfs", {{"mkfs.xfs", "xfsprogs"}, {"xfs_db", "xfsprogs"}}, 300 * mebibyte},
      {"btrfs", {{"mkfs.btrfs", "btrfs-progs"}}, 128 * mebibyte},
      {"vfat", {{"mkfs.vfat", "dosfstools"}, {"mcopy", "mtools"}}, 40 * mebibyte},
  };
  return kinds;
}

const Kind& kind_of(const std::string& name) {
  std::vector<std::string> names;
  for (const Kind& kind : all_kinds()) {
    if (name == kind.name) return kind;
    names.emplace_back(kind.name);
  }
  throw Error(EINVAL, "no file system " + quote(name) + " can be made" + suggestion(name, names));
}

void refuse_entry(const char* kind, const std::optional<fs::path>& path, const char* what) {
  if (path)
    throw Error(ENOTSUP, std::string(kind) + " as it is made here keeps no " + what + ", such as " +
                             path->string() + "; use ext4");
}

// Where a program knows of no offsets, the file system is made in a file of its own beside the
// disk, which is moved into its place: as pieces of data, so holes stay holes.
template <typename Make>
void make_apart(const FileSystemTask& task, Make&& make) {
  const fs::path apart = task.disk.string() + ".part";
  struct Removal {
    const fs::path& path;
    ~Removal() { ::unlink(path.c_str()); }
  } removal{apart};
  const File from = File::open(apart, O_RDWR | O_CREAT | O_EXCL);
  from.truncate(task.place.length);
  make(apart.string());
  const File to = File::open(task.disk, O_RDWR);
  std::vector<std::byte> buffer(128 << 10);
  for (off_t data = 0; (data = ::lseek(from.fd(), data, SEEK_DATA)) >= 0;) {
    const auto end = static_cast<std::uint64_t>(::lseek(from.fd(), data, SEEK_HOLE));
    for (auto at = static_cast<std::uint64_t>(data); at < end;) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(end - at, buffer.size()));
      from.read(buffer.data(), piece, at);
      to.write(buffer.data(), piece, task.place.offset + at);
      at += piece;
    }
    data = static_cast<off_t>(end);
  }
}

// By debugfs, which takes the place of an editor: the tree stays as it is.
void replace_ext4_fstab(const FileSystemTask& task, const std::string& fstab, bool is_there) {
  const TemporaryFolder folder;
  write_text_file(folder.path() / "fstab", fstab, 0644);
  std::string commands = is_there ? "rm /etc/fstab\n" : "";
  commands += "write " + (folder.path() / "fstab").string() + " /etc/fstab\n";
  for (const char* const field : {"mode 0100644", "uid 0", "gid 0"})
    commands += std::string("set_inode_field /etc/fstab ") + field + "\n";
  output_of({"debugfs", "-w", "-f", "-",
             task.disk.string() + "?offset=" + std::to_string(task.place.offset)},
            commands);
}

void make_ext4(const FileSystemTask& task, const Tree& tree, const std::string& fstab) {
  constexpr std::uint64_t bytes_per_inode = 16384;  // as mke2fs has it for disks of usual size
  const std::uint64_t inodes =
      std::max(task.place.length / bytes_per_inode, tree.entries + tree.entries / 2 + 1024);
  output_of({"mke2fs",
             "-q",
             "-F",
             "-t",
             "ext4",
             "-b",
             "4096",
             "-I",
             "256",
             "-m",
             "1",
             "-N",
             std::to_string(inodes),
             "-U",
             task.uuid,
             "-E",
             "offset=" + std::to_string(task.place.offset),
             "-d",
             tree.root.string(),
             task.disk.string(),
             std::to_string(task.place.length / 1024) + "k"});
  if (!fstab.empty()) replace_ext4_fstab(task, fstab, fs::exists(tree.root / "etc/fstab"));
}

void make_xfs(const FileSystemTask& task, const Tree& tree, const std::string& fstab) {
  const TemporaryFolder folder;
  std::string fstab_path;
  if (!fstab.empty()) {
    fstab_path = folder.path() / "fstab";
    write_text_file(fstab_path, fstab, 0644);
  }
  const fs::path protofile = folder.path() / "protofile";
  const XfsProtofile made = make_xfs_protofile(tree.root, fstab_path);
  write_text_file(protofile, made.text);
  make_apart(task, [&](const std::string& file) {
    output_of({"mkfs.xfs", "-q", "-f", "-m", "uuid=" + task.uuid, "-p", protofile.string(), file});
    if (made.corrections.empty()) return;
    std::vector<std::string> words{"xfs_db", "-x"};
    for (const std::string& command : made.corrections) words.insert(words.end(), {"-c", command});
    words.push_back(file);
    output_of(words);
  });
}

void make_btrfs(const FileSystemTask& task, const Tree& tree, const std::string& fstab) {
  // Its program takes all of one folder and nothing else.
  if (!fstab.empty())
    throw Error(ENOTSUP,
                "the tree has no entry for / in /etc/fstab, and none can be added to a btrfs; put "
                "one there, such as: PARTLABEL=root / btrfs defaults 0 0");
  make_apart(task, [&](const std::string& file) {
    output_of({"mkfs.btrfs", "-q", "-f", "-U", task.uuid, "--rootdir", tree.root.string(), file});
  });
}

// mtools' name for a file system in a part of a file.
std::string mtools_place(const FileSystemTask& task) {
  return task.disk.string() + "@@" + std::to_string(task.place.offset);
}

// FAT has a number of 32 bits, of which the UUID's beginning does as well as any.
std::string fat_number(const std::string& uuid) { return uuid.substr(0, 8); }

void make_fat(const FileSystemTask& task) {
  output_of({"mkfs.vfat", "-F", "32", "-s", task.place.length > 512 * mebibyte ? "8" : "1", "-i",
             fat_number(task.uuid), "--offset", std::to_string(task.place.offset / sector_size),
             task.disk.string(), std::to_string(task.place.length / 1024)});
}

void make_vfat(const FileSystemTask& task, const Tree& tree, const std::string& fstab) {
  make_fat(task);
  // The system of a tree on a FAT can't be one that has owners; its table goes with the rest.
  // It is told in which encoding names are, which else would be that of no language at all.
  std::vector<std::string> words{
      "env", "LC_ALL=C.UTF-8", "mcopy", "-i", mtools_place(task), "-s", "-p", "-Q", "-m"};
  for (const auto& entry : fs::directory_iterator(tree.root)) words.push_back(entry.path());
  words.emplace_back("::/");
  if (tree.entries > 0) output_of(words);
  if (fstab.empty()) return;
  const TemporaryFolder folder;
  write_text_file(folder.path() / "fstab", fstab, 0644);
  output_of({"mcopy", "-i", mtools_place(task), "-o", (folder.path() / "fstab").string(),
             "::/etc/fstab"});
}

// mcopy refuses some of these without a word, and calls others something else.
void require_fat_names(const Tree& tree) {
  std::set<std::string> seen;
  for (const auto& entry : fs::recursive_directory_iterator(tree.root)) {
    const std::string name = entry.path().filename();
    const bool has_control =
        std::ranges::any_of(name, [](unsigned char c) { return c < ' ' || c == 0x7f; });
    if (has_control || name.find_first_of("\"*:<>?\\|") != name.npos || name.ends_with('.') ||
        name.ends_with(' '))
      refuse_entry("vfat", entry.path(), "such names");
    std::string folded = entry.path();
    std::ranges::transform(folded, folded.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (!seen.insert(folded).second)
      refuse_entry("vfat", entry.path(), "names that differ in their case alone");
  }
}

}  // namespace

void require_file_system(const std::string& kind) {
  require_installed(kind_of(kind).programs, "to make a file system of the kind " + kind);
}

void require_fits(const std::string& kind, const Tree& tree) {
  if (kind == "vfat") {
    refuse_entry("vfat", tree.link, "symbolic links");
    refuse_entry("vfat", tree.special, "devices, pipes and sockets");
    require_fat_names(tree);
  } else if (kind == "xfs") {
    refuse_entry("xfs", tree.space, "names with spaces");
    refuse_entry("xfs", tree.attribute, "extended attributes");
    refuse_entry("xfs", tree.hard_link, "files with several names");
  }
}

std::uint64_t least_length(const std::string& kind, const Tree& tree) {
  constexpr std::uint64_t inode = 512;  // bytes, and what the file system has about it
  const std::uint64_t needed = tree.bytes + tree.bytes / 50 + tree.entries * inode;
  return std::max(needed, kind_of(kind).smallest);
}

std::uint64_t length_with_room(const std::string& kind, const Tree& tree) {
  constexpr std::uint64_t room = 512 * mebibyte, step = 64 * mebibyte;
  const std::uint64_t needed = least_length(kind, tree);
  return (needed + needed / 2 + room + step - 1) / step * step;
}

void make_file_system(const FileSystemTask& task, const Tree& tree, const std::string& fstab) {
  if (task.kind == "ext4") return make_ext4(task, tree, fstab);
  if (task.kind == "xfs") return make_xfs(task, tree, fstab);
  if (task.kind == "btrfs") return make_btrfs(task, tree, fstab);
  return make_vfat(task, tree, fstab);
}

void make_boot_file_system(const FileSystemTask& task,
                           const std::vector<std::pair<fs::path, std::string>>& files) {
  make_fat(task);
  std::vector<std::string> folders;
  for (const auto& [file, path] : files)
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
      if (const std::string folder = path.substr(0, slash);
          std::ranges::find(folders, folder) == folders.end())
        folders.push_back(folder);
  for (const std::string& folder : folders)
    output_of({"mmd", "-i", mtools_place(task), "::/" + folder});
  for (const auto& [file, path] : files)
    output_of({"mcopy", "-i", mtools_place(task), file.string(), "::/" + path});
}

}  // namespace plydisk
