#include "boot/identity.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/error.hpp"
#include "base/system_file.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

constexpr std::string_view target_prefix = "iqn.2026-11.io.plydisk:";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
  return first == text.npos ? "" : text.substr(first, last - first + 1);
}

// Whether the card is real: bridges, tunnels and the loop have no device behind them.
bool is_card(const std::filesystem::path& entry) {
  std::error_code ignored;
  return std::filesystem::exists(entry / "device", ignored);
}

std::string address_of(const std::filesystem::path& card) {
  return read_if_there(card / "address").value_or("");
}

std::filesystem::path find_card(const std::filesystem::path& root, const std::string& boot_mac,
                                const std::string& of_lease) {
  std::vector<std::filesystem::path> cards;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root / "sys/class/net", ignored))
    if (is_card(entry.path())) cards.push_back(entry.path());
  std::ranges::sort(cards);
  for (const auto& card : cards)
    if (!boot_mac.empty() && address_of(card) == boot_mac) return card;
  for (const auto& card : cards)
    if (!of_lease.empty() && card.filename() == of_lease) return card;
  return cards.empty() ? std::filesystem::path() : cards.front();
}

std::string require_name(const std::string& text, const std::string& what) {
  if (is_valid_name(text)) return text;
  throw Error(ENODATA, "the station's name cannot be told: " + what +
                           (text.empty() ? " is not there" : " is " + quote(text)) +
                           "; name it with plydisk.station=NAME on the kernel's command line");
}

}  // namespace

BootIdentity parse_boot_identity(std::string_view text) {
  for (const BootIdentity one : {BootIdentity::host_name, BootIdentity::mac, BootIdentity::serial})
    if (to_string(one) == text) return one;
  throw Error(EINVAL, "a station is not known by " + quote(text) + ": use hostname, mac or serial");
}

std::string to_string(BootIdentity identity) {
  switch (identity) {
    case BootIdentity::host_name:
      return "hostname";
    case BootIdentity::mac:
      return "mac";
    case BootIdentity::serial:
      return "serial";
  }
  return {};
}

Machine find_machine(const std::filesystem::path& root, const std::string& boot_mac) {
  Machine machine;
  // Firmware that boots by iSCSI tells, too, which card that was.
  const std::string booted_with =
      boot_mac.empty() ? read_if_there(root / "sys/firmware/ibft/ethernet0/mac").value_or("")
                       : boot_mac;
  const auto card = find_card(root, booted_with, find_lease(root, "").interface);
  machine.mac = card.empty() ? "" : address_of(card);
  machine.host_name = find_lease(root, card.filename()).host_name;
  machine.serial = trimmed(read_if_there(root / "sys/class/dmi/id/product_serial").value_or(""));
  return machine;
}

std::string station_name(BootIdentity identity, const Machine& machine) {
  if (identity == BootIdentity::host_name && !machine.host_name.empty())
    return require_name(machine.host_name.substr(0, machine.host_name.find('.')),
                        "the host name that DHCP gives");
  std::string name;
  if (identity == BootIdentity::serial) {
    for (const char c : machine.serial) {
      const bool is_plain =
          std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
      name += is_plain ? c : '-';
    }
    return require_name(name, "the serial number in SMBIOS");
  }
  name = machine.mac;
  std::ranges::replace(name, ':', '-');
  return require_name(name, "the MAC address");
}

std::optional<FirmwareTarget> parse_target_name(std::string_view name) {
  if (!name.starts_with(target_prefix)) return std::nullopt;
  name.remove_prefix(target_prefix.size());
  const std::size_t colon = name.find(':');
  if (colon == name.npos) return std::nullopt;
  FirmwareTarget target{std::string(name.substr(0, colon)), std::string(name.substr(colon + 1))};
  if (!is_valid_name(target.image) || !is_valid_name(target.station)) return std::nullopt;
  return target;
}

std::optional<FirmwareTarget> find_firmware_target(const std::filesystem::path& root) {
  const auto name = read_if_there(root / "sys/firmware/ibft/target0/target-name");
  return name ? parse_target_name(*name) : std::nullopt;
}

}  // namespace plydisk
