// What GRUB's configuration says of a kernel. It comes from a disk that anybody may have written:
// nothing of it may do more than give arguments to that kernel.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

// The arguments with which the configuration starts the kernel of this file name: of the first
// entry that is not for recovery. Nothing if it has no such entry. Words with GRUB's variables,
// which nobody here knows, are left out.
std::optional<std::vector<std::string>> grub_arguments(std::string_view config,
                                                       const std::string& kernel);

// The arguments for the same kernel when it boots over the network, one space between two words:
// without those that the firmware's script gives it, and without what such a script can't have.
// `words` empty: just those that it needs. `root_uuid`: of its root file system; empty: not known.
// Throws Error: ENOEXEC if nothing says where the root is, E2BIG if no kernel takes so many.
std::string netboot_arguments(const std::vector<std::string>& words, const std::string& root_uuid);

}  // namespace plydisk
