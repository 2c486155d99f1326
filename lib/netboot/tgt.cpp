#include "netboot/tgt.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

// What tgt-admin's parser leaves as it is.
bool is_plain(char c) {
  constexpr std::string_view special = " \"'\\#<>=$*?";
  return static_cast<unsigned char>(c) > 0x20 && c != 0x7f &&
         special.find(c) == std::string_view::npos;
}

std::string target(const NetbootStation& station, const std::filesystem::path& mount) {
  std::string text = "<target " + iscsi_target_name(station.image, station.name) +
                     ">\n"
                     "  <backing-store " +
                     (mount / "stations" / station.name / "disk").native() +
                     ">\n"
                     "    lun 1\n"
                     "    bs-type rdwr\n"
                     // Firmware asks for no flush, so each write is one.
                     "    write-cache off\n"
                     "  </backing-store>\n";
  for (const std::string& network : station.allow) text += "  initiator-address " + network + "\n";
  return text + "</target>\n";
}

}  // namespace

std::string iscsi_target_name(const std::string& image, const std::string& station) {
  return "iqn.2026-11.io.plydisk:" + image + ":" + station;
}

std::string iscsi_uri(const std::string& server, const std::string& image,
                      const std::string& station) {
  // No protocol number, the usual port, LUN 1.
  return "iscsi:" + server + ":::1:" + iscsi_target_name(image, station);
}

void require_tgt_path(const std::filesystem::path& mount) {
  const std::string& text = mount.native();
  if (!mount.is_absolute() || !std::ranges::all_of(text, is_plain))
    throw Error(EINVAL, "the folder " + quote(text) +
                            " can't stand in a configuration of tgt: mount plydiskfs on one with "
                            "an absolute path that has neither blanks nor special characters");
}

std::string tgt_conf(const NetbootPlan& plan, const std::filesystem::path& mount) {
  require_tgt_path(mount);
  std::string text =
      "# Made by plydisk netboot, which makes it again: the disks of stations for their firmware,\n"
      "# on " +
      mount.native() +
      ", where plydiskfs is mounted and the store's server runs.\n"
      "# tgt takes new stations with: tgt-admin -c THIS_FILE --execute\n"
      "# and what has changed of others with: tgt-admin -c THIS_FILE --update ALL\n";
  for (const NetbootStation& station : plan.stations) {
    if (station.image.empty()) continue;
    text += station.has_secret
                ? "\n# " + station.name + " has a secret, which firmware can't show: no target.\n"
                : "\n" + target(station, mount);
  }
  return text;
}

}  // namespace plydisk
