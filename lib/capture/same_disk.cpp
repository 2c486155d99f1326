#include "capture/same_disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "backing/nbd_uri.hpp"
#include "base/device_uses.hpp"
#include "base/error.hpp"

namespace plydisk {

namespace fs = std::filesystem;

namespace {

// What /proc/PID/fd says of a socket that is bound to this path, or was accepted there.
std::set<std::string> sockets_at(const fs::path& path) {
  std::set<std::string> sockets;
  std::ifstream list("/proc/net/unix");
  std::error_code ignored;
  for (std::string line; std::getline(list, line);) {
    // Num RefCount Protocol Flags Type St Inode Path
    std::istringstream words(line);
    std::string word, inode, bound;
    for (int i = 0; i < 6; ++i) words >> word;
    words >> inode;
    std::getline(words >> std::ws, bound);
    if (!bound.empty() && fs::weakly_canonical(bound, ignored) == path)
      sockets.insert("socket:[" + inode + "]");
  }
  return sockets;
}

bool is_writing(const fs::path& process, const std::string& descriptor) {
  std::ifstream info(process / "fdinfo" / descriptor);
  for (std::string word; info >> word;)
    if (word == "flags:" && info >> word)
      return (std::strtoul(word.c_str(), nullptr, 8) & O_ACCMODE) != O_RDONLY;
  return false;
}

}  // namespace

bool is_same_disk(const struct stat& one, const struct stat& other) {
  return S_ISBLK(one.st_mode) ? S_ISBLK(other.st_mode) && one.st_rdev == other.st_rdev
                              : one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

bool is_written_by_server_of(const std::string& uri, const File& file) {
  const std::string socket = nbd_socket(uri);
  struct stat wanted {};
  if (socket.empty() || ::fstat(file.fd(), &wanted) != 0) return false;
  std::error_code ignored;
  const auto sockets = sockets_at(fs::weakly_canonical(socket, ignored));
  for (const fs::path& process : list_directory("/proc")) {
    bool serves = false, writes = false;
    for (const fs::path& entry : list_directory(process / "fd")) {
      struct stat found {};
      serves = serves || sockets.contains(fs::read_symlink(entry, ignored).string());
      writes = writes || (::stat(entry.c_str(), &found) == 0 && is_same_disk(wanted, found) &&
                          is_writing(process, entry.filename()));
    }
    if (serves && writes) return true;
  }
  return false;
}

}  // namespace plydisk
