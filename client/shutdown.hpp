// The end of a system whose root file system lies on an attached disk.
//
// systemd makes the tree that initramfs/runtime-tree has made the system's own, with the former one
// at /oldroot, and becomes its /shutdown: this program by another name. Only now can the root file
// system be unmounted; the disk goes after it, and then the machine.
#pragma once

#include <string>

namespace plydisk {

// `action`: poweroff, reboot, halt or kexec, as systemd says it. Returns only if the kernel refuses
// it.
int shut_down(const std::string& action) noexcept;

}  // namespace plydisk
