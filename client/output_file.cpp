#include "output_file.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/device_uses.hpp"
#include "base/error.hpp"
#include "base/uuid.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_existing(const fs::path& path) {
  throw Error(EEXIST, path.string() + " is there already; replace it with --force");
}

constexpr unsigned random_digits = 8;

std::string unfinished_name(const fs::path& path, const std::string& random) {
  return "." + path.filename().string() + "." + random + ".part";
}

// What a process has left that was killed: nobody has a lock on it any more.
void remove_abandoned(const fs::path& path) {
  const std::size_t length = unfinished_name(path, std::string(random_digits, '0')).size();
  const std::string before = unfinished_name(path, "");
  const std::string begin = before.substr(0, before.size() - std::string_view(".part").size());
  for (const fs::path& other : list_directory(path.parent_path())) {
    const std::string name = other.filename();
    if (name.size() != length || !name.starts_with(begin) || !name.ends_with(".part")) continue;
    const UniqueFd file(::open(other.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info {};
    if (file && ::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_uid == ::geteuid() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0)
      ::unlink(other.c_str());
  }
}

// Whether it is ours. Another process may take it for abandoned before it is locked.
bool lock(const File& file) {
  struct stat info {};
  // A file system that has no locks has none for the other process, either.
  if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK;
  return ::fstat(file.fd(), &info) != 0 || info.st_nlink > 0;
}

}  // namespace

// A symbolic link stays, and what it leads to is replaced.
OutputFile::OutputFile(const fs::path& path, bool replaces)
    : path_(fs::weakly_canonical(fs::absolute(path))), replaces_(replaces) {
  const fs::file_status status = fs::status(path_);
  if (fs::exists(status) && !fs::is_regular_file(status))
    throw Error(EINVAL, path_.string() + " is no file");
  if (fs::exists(status) && !replaces_) refuse_existing(path_);
  remove_abandoned(path_);
  do {
    unfinished_ = path_.parent_path() / unfinished_name(path_, random_hex(random_digits));
    // A disk has its users' secrets: it is for who made it, unless they say otherwise.
    file_ = File::open(unfinished_, O_RDWR | O_CREAT | O_EXCL, 0600);
  } while (!lock(file_));
}

OutputFile::~OutputFile() {
  if (!unfinished_.empty()) ::unlink(unfinished_.c_str());
}

void OutputFile::finish() {
  File::open(unfinished_, O_RDWR).sync();
  if (replaces_) {
    fs::rename(unfinished_, path_);
  } else {
    // Where the file system can't do that: a second name, and then not the first one any more.
    if (::renameat2(AT_FDCWD, unfinished_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) !=
        0) {
      if (errno != EEXIST && ::link(unfinished_.c_str(), path_.c_str()) == 0)
        ::unlink(unfinished_.c_str());
      else if (errno == EEXIST)
        refuse_existing(path_);
      else
        throw_errno("cannot make " + path_.string());
    }
  }
  unfinished_.clear();
  sync_directory(path_.parent_path());
}

}  // namespace plydisk
