#include "base/uuid.hpp"

#include <sys/random.h>

#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hex.hpp"

namespace plydisk {

std::string random_hex(unsigned digits) {
  std::vector<unsigned char> bytes((digits + 1) / 2);
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    throw_errno("cannot get random bytes");
  std::string text = to_hex(bytes);
  text.resize(digits);
  return text;
}

std::string random_uuid() {
  std::string text = random_hex(32);
  text[12] = '4';
  text[16] = "89ab"[static_cast<unsigned char>(text[16]) % 4];
  for (const std::size_t dash : {8U, 13U, 18U, 23U}) text.insert(dash, 1, '-');
  return text;
}

std::string boot_id() { return read_text_file("/proc/sys/kernel/random/boot_id"); }

}  // namespace plydisk
