#include "building/kernels.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace plydisk {

namespace {

// Only such names go into a boot loader's script as they are.
bool is_plain(const std::string& name) {
  return std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || (c != '\0' && std::strchr("-._+~", c) != nullptr);
  });
}

}  // namespace

std::vector<Kernel> kernels_among(const std::vector<std::string>& names) {
  constexpr const char* prefix = "vmlinuz-";
  std::vector<Kernel> kernels;
  for (const std::string& name : names) {
    if (!name.starts_with(prefix) || !is_plain(name)) continue;
    Kernel kernel{name.substr(std::strlen(prefix)), name, {}};
    // As Debian, Fedora and Arch call it.
    for (const std::string& initrd :
         {"initrd.img-" + kernel.version, "initramfs-" + kernel.version + ".img",
          "initrd-" + kernel.version})
      if (kernel.initrd.empty() && std::ranges::find(names, initrd) != names.end())
        kernel.initrd = initrd;
    kernels.push_back(kernel);
  }
  std::ranges::sort(kernels, [](const Kernel& a, const Kernel& b) {
    return ::strverscmp(a.version.c_str(), b.version.c_str()) > 0;
  });
  return kernels;
}

}  // namespace plydisk
