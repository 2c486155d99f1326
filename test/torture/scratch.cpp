#include "scratch.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace plydisk::torture {

namespace {

// Containers often have a /dev/shm that is too small to be of use.
bool has_room(const char* folder) {
  constexpr unsigned long wanted = 512UL << 20;
  struct statvfs info {};
  return ::access(folder, W_OK) == 0 && ::statvfs(folder, &info) == 0 &&
         info.f_bavail * info.f_frsize >= wanted;
}

}  // namespace

Scratch::Scratch(bool keep) : keep_(keep) {
  const char* const chosen = std::getenv("TMPDIR");
  const std::string parent = has_room("/dev/shm") ? "/dev/shm"
                             : chosen != nullptr  ? chosen
                                                  : "/tmp";
  std::string name = parent + "/plydisk-torture-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr)
    throw std::runtime_error("cannot make a folder in " + parent);
  path_ = name;
}

Scratch::~Scratch() {
  if (keep_) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace plydisk::torture
