// Who a booting station is: the same name in its firmware as in its system, so that both are one
// session.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "boot/arguments.hpp"

namespace plydisk {

// The store's parameter boot-identity.
enum class BootIdentity {
  host_name,  // of DHCP, up to the first dot; if that gives none, as by mac
  mac,        // of the card that it boots with: 52-54-00-12-34-56
  serial,     // of SMBIOS, with "-" for each character that no name has
};
// "hostname", "mac" or "serial". Throws Error(EINVAL).
BootIdentity parse_boot_identity(std::string_view text);
std::string to_string(BootIdentity identity);

// What is known of the machine; empty: it is not.
struct Machine {
  std::string host_name, mac, serial;
};
// As /sys below `root` has it, with the lease of the network card. The card is the one with this
// MAC address, that of the lease, or the first that there is.
Machine find_machine(const std::filesystem::path& root, const std::string& boot_mac);

// The station's name. Throws Error(ENODATA), with what to do, if the machine does not have it, or
// has nothing that can be one.
std::string station_name(BootIdentity identity, const Machine& machine);

// What iSCSI firmware has left for the system: the target that it booted from.
//   iqn.2026-11.io.plydisk:IMAGE:STATION
struct FirmwareTarget {
  std::string image, station;
};
// Nothing for another target's name.
std::optional<FirmwareTarget> parse_target_name(std::string_view name);
// As the kernel's module iscsi_ibft has it in /sys below `root`.
std::optional<FirmwareTarget> find_firmware_target(const std::filesystem::path& root);

}  // namespace plydisk
