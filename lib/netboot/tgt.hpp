// The configuration of tgt, an iSCSI target: one target for each station, so that firmware reads
// and writes the disk of the station's session by int 13h or UEFI's block I/O.
#pragma once

#include <filesystem>
#include <string>

#include "netboot/plan.hpp"

namespace plydisk {

// The target's name, which the iBFT tells the system: iqn.2026-11.io.plydisk:IMAGE:STATION.
std::string iscsi_target_name(const std::string& image, const std::string& station);
// What iPXE's sanboot and DHCP's root-path take. `server`: a name or an address, IPv6 in brackets.
std::string iscsi_uri(const std::string& server, const std::string& image,
                      const std::string& station);

// Throws Error(EINVAL) for a path that tgt's configuration can't have.
void require_tgt_path(const std::filesystem::path& mount);
// For tgt-admin. `mount`: where plydiskfs is mounted, as require_tgt_path() takes it.
std::string tgt_conf(const NetbootPlan& plan, const std::filesystem::path& mount);

}  // namespace plydisk
