// Scripts for iPXE. Each names the others and the files by paths from its own place, so they are
// good below any root of TFTP or HTTP:
//
//   plydisk.ipxe                      the first one: loads the menu, perhaps from a web server
//   menu.ipxe                         knows the station, or shows a menu of images
//   stations/NAME.ipxe                of a station
//   images/NAME/boot.ipxe             boots the version that most get
//   images/NAME/VERSION/boot.ipxe     boots this one
//   images/NAME/VERSION/vmlinuz, initrd.img
#pragma once

#include <string>

#include "netboot/boot_files.hpp"
#include "netboot/plan.hpp"

namespace plydisk {

inline constexpr const char* menu_script_name = "menu.ipxe";
inline constexpr const char* netboot_kernel_name = "vmlinuz";
inline constexpr const char* netboot_initrd_name = "initrd.img";

std::string menu_script(const NetbootPlan& plan);
// Loads that: from the web server, or else from where this came from.
std::string entry_script(const NetbootPlan& plan);
// An image without a kernel is booted by its own boot loader, from an iSCSI target on the same
// machine.
std::string station_script(const NetbootPlan& plan, const NetbootStation& station);
std::string image_script(const NetbootImage& image);
// `arguments`: for the kernel, from netboot_arguments().
std::string version_script(const NetbootPlan& plan, const std::string& image, unsigned version,
                           const std::string& arguments);

// Text that iPXE prints as it is: with "?" for what it would take for something else.
std::string ipxe_text(const std::string& text);

}  // namespace plydisk
