// The files of disks, and what has become of them: file systems made by e2fsprogs, changed by
// debugfs.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>

#include "base/file.hpp"
#include "base/program.hpp"
#include "building/tree_disk.hpp"
#include "filesystem/files.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::TemporaryDirectory;

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t first_partition = 1 << 20;  // bytes, as TreeDisk lays it out

struct DiskFile {
  explicit DiskFile(const fs::path& path) : file(File::open(path, O_RDWR | O_CREAT)) {}
  File file;
  DiskReader reader() const {
    return {file.size(), [this](void* buffer, std::size_t length, std::uint64_t offset) {
              file.read(buffer, length, offset);
            }};
  }
  void debugfs(const std::string& commands) const {
    output_of(
        {"debugfs", "-w", "-f", "-", file.path() + "?offset=" + std::to_string(first_partition)},
        commands);
  }
  // Changes a byte of the first place that has this text.
  void damage(const std::string& text) const {
    std::vector<char> bytes(file.size());
    file.read(bytes.data(), bytes.size(), 0);
    const auto found = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
    REQUIRE(found != bytes.end());
    const char other = static_cast<char>(text.front() + 1);
    file.write(&other, 1, static_cast<std::uint64_t>(found - bytes.begin()));
  }
};

struct DisksFixture {
  DisksFixture() {
    const fs::path tree = directory.path() / "tree";
    put_text(tree / "etc/motd", "a host");
    put_text(tree / "etc/hosts", "127.0.0.1 localhost");
    put_text(tree / "bin/data", "the data of a file" + std::string(100'000, 'x'));
    put_text(tree / "bin/same", "nothing happens to this");
    fs::create_symlink("motd", tree / "etc/short");
    fs::create_symlink(std::string(100, 'y'), tree / "etc/long");
    fs::create_hard_link(tree / "bin/data", tree / "bin/other");
    TreeDiskOptions options;
    options.tree = tree;
    options.size = 16 << 20;
    TreeDisk(options).build((DiskFile(directory.path() / "before"), directory.path() / "before"));
    fs::copy_file(directory.path() / "before", directory.path() / "after");
  }
  static void put_text(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  FileComparison compare() const {
    const DiskFile before(directory.path() / "before"), after(directory.path() / "after");
    return compare_files(before.reader(), after.reader(),
                         [&](std::uint64_t offset, std::uint64_t length) {
                           std::vector<char> was(length), is(length);
                           before.file.read(was.data(), length, offset);
                           after.file.read(is.data(), length, offset);
                           return was != is;
                         });
  }
  // Each as "+/etc/new", "-/etc/old" or "*/etc/changed".
  std::vector<std::string> changes() const {
    std::vector<std::string> texts;
    for (const FileChange& change : compare().changes) {
      CHECK(change.partition == 1);
      texts.push_back((change.kind == FileChangeKind::added     ? "+"
                       : change.kind == FileChangeKind::removed ? "-"
                                                                : "*") +
                      change.entry.path);
    }
    return texts;
  }
  DiskFile after() const { return DiskFile(directory.path() / "after"); }

  TemporaryDirectory directory;
};

}  // namespace

TEST_CASE_FIXTURE(DisksFixture, "all files of a file system are listed as they are") {
  const DiskFile disk = after();
  const ExtFileSystem file_system(disk.reader().read, first_partition, 14 << 20);
  std::map<std::string, FileEntry> files;
  for (const FileEntry& entry : list_files(file_system)) files[entry.path] = entry;
  CHECK(files.size() == 10);  // with lost+found
  CHECK(files.at("/etc").type == FileType::folder);
  CHECK(files.at("/etc/short").type == FileType::link);
  CHECK(files.at("/etc/short").target == "motd");
  CHECK(files.at("/etc/long").target == std::string(100, 'y'));
  const FileEntry& data = files.at("/bin/data");
  CHECK(data.size == 100'018);
  CHECK(data.inode == files.at("/bin/other").inode);
  struct stat info {};
  REQUIRE(::stat((directory.path() / "tree/bin/data").c_str(), &info) == 0);
  CHECK(data.mode == (info.st_mode & 07777U));
  CHECK(data.uid == info.st_uid);
  CHECK(data.mtime_ns / 1'000'000'000 == info.st_mtim.tv_sec);
}

TEST_CASE_FIXTURE(DisksFixture, "what is added, removed and changed is told, and nothing else") {
  CHECK(changes().empty());
  put_text(directory.path() / "new", "new");
  after().debugfs("write " + (directory.path() / "new").string() + " /etc/new\nrm /etc/hosts\n" +
                  "set_inode_field /etc/motd mode 0100600\nset_inode_field /bin uid 7\n" +
                  "set_inode_field /etc mtime 20300101\n");
  CHECK(changes() == std::vector<std::string>{"*/bin", "-/etc/hosts", "*/etc/motd", "+/etc/new"});
}

TEST_CASE_FIXTURE(DisksFixture, "a file whose data alone was changed is found by its sectors") {
  after().damage("the data of a file");
  CHECK(changes() == std::vector<std::string>{"*/bin/data", "*/bin/other"});
}

TEST_CASE_FIXTURE(DisksFixture, "what can't be read is named, and so is what may not be all") {
  after().debugfs("set_super_value state 0\nrm /etc/hosts\n");
  const FileComparison dirty = compare();
  REQUIRE(dirty.doubts.size() == 1);
  CHECK(dirty.doubts[0].sentence == "was not unmounted");
  CHECK(dirty.changes.size() == 1);
  const std::vector<char> zeros(4096);
  after().file.write(zeros.data(), zeros.size(), first_partition);
  const FileComparison gone = compare();
  CHECK(gone.changes.empty());
  REQUIRE(gone.unread.size() == 1);
  CHECK(gone.unread[0].partition == 1);
  CHECK(gone.unread[0].sentence == "has no known file system");
}
