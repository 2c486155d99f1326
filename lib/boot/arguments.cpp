#include "boot/arguments.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <vector>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/system_file.hpp"
#include "boot/disc.hpp"
#include "boot/identity.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

// The words of the kernel's command line, without the quotes.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false, begun = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
      begun = true;
    } else if (!quoted && std::isspace(static_cast<unsigned char>(c))) {
      if (begun) words.push_back(std::exchange(word, {}));
      begun = false;
    } else {
      word += c;
      begun = true;
    }
  }
  if (begun) words.push_back(word);
  return words;
}

std::chrono::seconds parse_seconds(const std::string& text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > 86400)
    throw Error(EINVAL, "plydisk.patience=" + text + ": give whole seconds, from 0 to 86400");
  return std::chrono::seconds(number);
}

bool parse_yes_or_no(const std::string& name, const std::string& value) {
  if (value != "yes" && value != "no") throw Error(EINVAL, name + "=" + value + ": give yes or no");
  return value == "yes";
}

// What plydisk= says: where the disk is.
void take_place(BootArguments& arguments, const std::string& value) {
  constexpr std::string_view with_label = "disc:";
  arguments.uri.clear();
  arguments.disc.reset();
  if (value == "disc") {
    arguments.disc = "";
  } else if (value.starts_with(with_label)) {
    arguments.disc = value.substr(with_label.size());
    if (!is_valid_disc_label(*arguments.disc))
      throw Error(EINVAL, "plydisk=" + value +
                              ": a disc's label is 1 to 32 of A-Z, 0-9 and \"_\"; give "
                              "plydisk=disc for whichever is there");
  } else if (value == "dhcp" || is_nbd_uri(value)) {
    arguments.uri = value;
  } else {
    throw Error(EINVAL, "plydisk=" + value +
                            ": give the server's image, as in plydisk=nbd://192.0.2.2/debian, "
                            "plydisk=dhcp for what DHCP's root-path says, or plydisk=disc for a "
                            "disc in this machine");
  }
}

// As PXELINUX and iPXE say it: the kind of hardware before the address.
std::string mac_of(const std::string& bootif) {
  std::string mac = bootif.size() == 20 ? bootif.substr(3) : bootif;
  for (char& c : mac)
    c = c == '-' ? ':' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return mac;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string interface_of(const std::filesystem::path& root, const std::string& number) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root / "sys/class/net", ignored))
    if (read_if_there(entry.path() / "ifindex") == number) return entry.path().filename();
  return {};
}

}  // namespace

std::optional<BootArguments> parse_boot_arguments(std::string_view command_line) {
  BootArguments arguments;
  for (const std::string& word : words_of(command_line)) {
    const std::size_t equals = word.find('=');
    if (equals == word.npos) continue;
    const std::string name = word.substr(0, equals), value = word.substr(equals + 1);
    if (name == "plydisk") {
      take_place(arguments, value);
    } else if (name == "plydisk.station") {
      require_valid_name("station", value);
      arguments.station = value;
    } else if (name == "plydisk.identity") {
      parse_boot_identity(value);
      arguments.identity = value;
    } else if (name == "plydisk.writes") {
      arguments.writes = to_string(WritePlan(value));
    } else if (name == "plydisk.patience") {
      arguments.patience = parse_seconds(value);
    } else if (name == "plydisk.multicast") {
      arguments.multicast = parse_yes_or_no(name, value);
    } else if (name == "plydisk.check") {
      arguments.checks_disc = parse_yes_or_no(name, value);
    } else if (name.starts_with("plydisk.")) {
      throw Error(EINVAL, "there is no argument " + name +
                              ": use plydisk.station, plydisk.identity, plydisk.writes, "
                              "plydisk.multicast, plydisk.patience or plydisk.check");
    } else if (name == "BOOTIF") {
      arguments.boot_mac = mac_of(value);
    }
  }
  if (arguments.uri.empty() && !arguments.disc) return std::nullopt;
  return arguments;
}

Lease parse_lease(std::string_view text) {
  Lease lease;
  for (const std::string& line : lines_of(text)) {
    const std::size_t equals = line.find('=');
    if (equals == line.npos) continue;
    const std::string name = line.substr(0, equals);
    std::string value = line.substr(equals + 1);
    if (value.size() >= 2 && (value.front() == '\'' || value.front() == '"') &&
        value.back() == value.front())
      value = value.substr(1, value.size() - 2);
    if (name == "DEVICE" || name == "interface") lease.interface = value;
    if (name == "HOSTNAME" || name == "new_host_name") lease.host_name = value;
    if (name == "ROOTPATH" || name == "ROOT_PATH" || name == "new_root_path")
      lease.root_path = value;
  }
  return lease;
}

Lease find_lease(const std::filesystem::path& root, const std::string& interface) {
  std::vector<std::filesystem::path> files;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root / "run", ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("net-") && name.ends_with(".conf")) files.push_back(entry.path());
  }
  for (const auto& entry :
       std::filesystem::directory_iterator(root / "run/systemd/netif/leases", ignored))
    files.push_back(entry.path());
  for (const auto& entry : std::filesystem::directory_iterator(root / "tmp", ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("dhclient.") && name.ends_with(".dhcpopts")) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  for (const auto& file : files) {
    Lease lease = parse_lease(read_text_file(file));
    // dracut has the name in that of the file alone.
    if (lease.interface.empty() && file.extension() == ".dhcpopts")
      lease.interface = file.stem().extension().string().substr(1);
    // networkd's is the number of the card.
    if (file.parent_path().filename() == "leases")
      lease.interface = interface_of(root, file.filename().string());
    if (interface.empty() || lease.interface == interface) return lease;
  }
  return {};
}

}  // namespace plydisk
