// Scripts for a GRUB that has the network: what scripts.hpp has for iPXE, for machines where no
// script can be given to that. They lie beside those, as plydisk.cfg, stations/NAME.cfg,
// images/NAME/boot.cfg and images/NAME/VERSION/boot.cfg. Whoever reads the first one has set and
// exported
//
//   plydisk            the folder that it is in: "(tftp,192.0.2.1)"
//   plydisk_mac        of the card: "52-54-00-12-34-56"
//   plydisk_hostname   that DHCP gave; empty: none
//
// and plydisk_ready is "yes" after it: GRUB does not tell whether there was such a file.
#pragma once

#include <string>

#include "netboot/plan.hpp"

namespace plydisk {

inline constexpr const char* first_grub_script = "plydisk.cfg";

std::string grub_menu_script(const NetbootPlan& plan);
std::string grub_station_script(const NetbootStation& station);
std::string grub_image_script(const NetbootImage& image);
// `arguments`: for the kernel, from netboot_arguments().
std::string grub_version_script(const NetbootPlan& plan, const std::string& image, unsigned version,
                                const std::string& arguments);

}  // namespace plydisk
