// A disc image for machines whose firmware does not boot over the network: for a CD, a DVD or, as
// it is, a USB stick; by BIOS and by UEFI on x86-64. It gets an address by DHCP, and goes on with
// the first script of the boot server that it was made for.
//
// By BIOS, GRUB loads iPXE, with a script of its own. Debian's iPXE for UEFI takes no script but
// from DHCP, so there GRUB itself uses the firmware's network, and the scripts of grub_scripts.hpp.
// Only where the firmware drives no card, as some don't that boot fast, iPXE is left to DHCP.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace plydisk {

// Throws Error(ENOENT) with what is missing.
void require_netboot_disc_tools();
// `host`: an IPv4 address, or a name; throws Error(EINVAL) for another one.
void require_disc_host(const std::string& host);
// Writes over `file`. check() is called while that goes on, and may throw to end it.
void make_netboot_disc(const std::string& host, const std::filesystem::path& file,
                       const std::function<void()>& check);

// On the disc: of iPXE, and of GRUB.
std::string disc_ipxe_script(const std::string& host);
std::string disc_grub_script(const std::string& host);

}  // namespace plydisk
