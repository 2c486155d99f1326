#include "base/temporary_folder.hpp"

#include <sys/un.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace plydisk {

TemporaryFolder::TemporaryFolder() {
  constexpr std::size_t longest_name = 16;  // of what lies in it
  const char* const set = std::getenv("TMPDIR");
  std::string name = std::string(set != nullptr && *set == '/' ? set : "/tmp") + "/plydisk.XXXXXX";
  if (name.size() + 1 + longest_name >= sizeof sockaddr_un::sun_path) name = "/tmp/plydisk.XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw_errno("cannot make a folder like " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace plydisk
