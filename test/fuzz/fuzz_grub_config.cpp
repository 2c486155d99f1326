// GRUB's configuration comes from disks that stations write: whatever it is, the kernel's line in
// iPXE's script stays one command, with what this program gives it and words besides.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "base/error.hpp"
#include "netboot/grub_config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Most inputs would have no entry of that kernel.
  const std::string text =
      "linux /boot/vmlinuz-6 " + std::string(reinterpret_cast<const char*>(data), size);
  const auto words = plydisk::grub_arguments(text, "vmlinuz-6");
  if (!words) return 0;
  try {
    const std::string line = plydisk::netboot_arguments(*words, "UUID");
    if (line.find("root=") == line.npos) std::abort();
    if (std::ranges::any_of(line, [](char c) { return c < ' ' || c > '~' || c == '$'; }))
      std::abort();
    std::istringstream parts(line);
    for (std::string word; parts >> word;)
      if (word == "||" || word == "&&" || word == ";" || word.starts_with('#') ||
          word.starts_with("plydisk=") || word.starts_with("ip="))
        std::abort();
  } catch (const plydisk::Error&) {
    // Too many for any kernel.
  }
  return 0;
}
