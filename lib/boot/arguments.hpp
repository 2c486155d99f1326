// What a system that boots from an emulated disk is told: words of the kernel's command line, and
// what its DHCP server said to whoever set up the network in the initramfs.
//
//   plydisk=nbd://SERVER[:PORT]/IMAGE[:VERSION]   the disk; plydisk=dhcp: DHCP's root-path is this
//   URI plydisk.station=NAME                          who this is
//   plydisk.identity=hostname|mac|serial          or what that is known by; else as the server says
//   plydisk=disc[:LABEL]                          or: a disc in a drive of this machine (disc.hpp)
//   plydisk.check=yes|no                          whether that is read through before it is used
//   plydisk.writes=DEST[:SIZE][,DEST...]          where writes go; else as the server says
//   plydisk.multicast=yes|no                      whether to hear what other stations read
//   plydisk.patience=SECONDS                      how long to wait for a server
//   BOOTIF=01-MAC                                 the card that the firmware has booted with
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace plydisk {

struct BootArguments {
  std::string uri;                  // "dhcp": DHCP's root-path; empty: it is a disc
  std::optional<std::string> disc;  // its label; empty: whichever is there
  bool checks_disc = false, multicast = false;
  std::string station, identity, writes;  // empty: not said
  std::optional<std::chrono::seconds> patience;
  std::string boot_mac;  // lower case, with colons; empty: not said
};

// Nothing if there is no plydisk= among the words. Throws Error(EINVAL), with what to write
// instead, for a value that can't be one. Quotes are as the kernel takes them: around a value or a
// word.
std::optional<BootArguments> parse_boot_arguments(std::string_view command_line);

struct Lease {
  std::string interface, host_name, root_path;  // empty: not said
};

// What klibc's ipconfig (NAME='VALUE') or dracut's dhclient (new_name=VALUE) has written down.
// Other lines are not looked at.
Lease parse_lease(std::string_view text);
// The first one in /run/net-*.conf or /tmp/dhclient.*.dhcpopts below `root`, of this interface if
// one is named; a lease with nothing in it if there is none.
Lease find_lease(const std::filesystem::path& root, const std::string& interface);

}  // namespace plydisk
