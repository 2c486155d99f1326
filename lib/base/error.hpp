// Errors carry an errno and a sentence that tells the user what to do.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>

namespace plydisk {

class Error : public std::runtime_error {
 public:
  // `code` is an errno; it is what a station or a shell sees as the cause.
  Error(int code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  int code() const noexcept { return code_; }

 private:
  int code_;
};

// Whether an errno says that there is no room: the file system is full, or a quota is used up.
constexpr bool is_disk_full(int code) noexcept { return code == ENOSPC || code == EDQUOT; }

// Whether an errno says that a server was not reached: nothing was done, and nothing is lost.
constexpr bool is_unreachable(int code) noexcept { return code == ESHUTDOWN || code == ETIMEDOUT; }

// Throws Error(errno, "WHAT: strerror(errno)").
[[noreturn]] void throw_errno(const std::string& what);
[[noreturn]] void throw_errno(int code, const std::string& what);

}  // namespace plydisk
