#include "base/error.hpp"

#include <system_error>

namespace plydisk {

void throw_errno(int code, const std::string& what) {
  throw Error(code, what + ": " + std::generic_category().message(code));
}

void throw_errno(const std::string& what) { throw_errno(errno, what); }

}  // namespace plydisk
