#include "base/error.hpp"

#include <cstring>

namespace plydisk {

void throw_errno(int code, const std::string& what) {
  // Not strerror: it takes the locale's lock, which some libraries hold when a process ends.
  const char* const text = ::strerrordesc_np(code);
  throw Error(code, what + ": " + (text != nullptr ? text : std::to_string(code)));
}

void throw_errno(const std::string& what) { throw_errno(errno, what); }

}  // namespace plydisk
