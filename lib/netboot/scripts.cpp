#include "netboot/scripts.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "netboot/tgt.hpp"

namespace plydisk {

namespace {

constexpr const char* head = "#!ipxe\n# Made by plydisk netboot, which makes it again.\n";

// By the card that the script came through, whatever others there are.
constexpr const char* mac = "${netX/mac:hexhyp}";

// What a station's script is found by. Host names and serial numbers that are no station's name as
// they are belong to no station here, and the system finds the name: iPXE can't change a text.
std::string station_setting(const std::string& identity) {
  if (identity == "mac") return mac;
  return identity == "serial" ? "${serial:uristring}" : "${hostname:uristring}";
}

std::string folder_of(unsigned version) { return std::to_string(version); }

bool any_kernel(const NetbootPlan& plan) {
  return std::ranges::any_of(plan.images, &NetbootImage::has_kernel);
}

// A station's script says which disk is its own.
constexpr const char* last_items =
    "item --gap\n"
    "isset ${plydisk-disk} && item .disk The disk of this station, by iSCSI ||\n"
    "item .local The disk of this machine\n"
    "item .shell A command line\n";

}  // namespace

std::string ipxe_text(const std::string& text) {
  std::string plain;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0U) == 0x80U) continue;  // the rest of a character that is one already
    const bool is_plain =
        byte < 0x80 &&
        (std::isalnum(byte) != 0 || (c != '\0' && std::strchr(" .,:()_+/=@'-", c) != nullptr));
    plain += is_plain ? c : '?';
  }
  return plain;
}

std::string menu_script(const NetbootPlan& plan) {
  const std::string setting = station_setting(plan.identity);
  std::string script = head;
  // A station that is not known here is known to its system by the same name.
  script += plan.identity == "mac" ? "set plydisk-argument plydisk.station=" + setting + "\n"
                                   : std::string("clear plydisk-argument ||\n");
  script += "clear plydisk-disk ||\n";
  script += "chain --autofree stations/" + setting + ".ipxe ||\n";
  script += ":menu\n";
  if (any_kernel(plan)) {
    std::string first;
    script += "menu plydisk: which disk shall this station have?\n";
    for (const NetbootImage& image : plan.images) {
      if (!image.has_kernel) continue;
      if (first.empty()) first = image.name;
      script += "item " + image.name + " " + image.name +
                (image.description.empty() ? "" : ": " + ipxe_text(image.description)) + "\n";
    }
    script += last_items;
    script += "choose --default " + first +
              (plan.timeout == 0 ? "" : " --timeout " + std::to_string(plan.timeout * 1000)) +
              " plydisk-image || goto menu\n";
  } else {
    script += "menu plydisk: there is no image that can be booted\n";
    script += last_items;
    script += "choose plydisk-image || goto menu\n";
  }
  script +=
      "iseq ${plydisk-image} .local && exit ||\n"
      "iseq ${plydisk-image} .disk && goto disk ||\n"
      "iseq ${plydisk-image} .shell && goto shell ||\n"
      "chain --autofree images/${plydisk-image}/boot.ipxe ||\n"
      "goto menu\n"
      ":disk\n"
      "sanboot ${plydisk-disk} ||\n"
      "prompt --timeout 30000 Press a key for the menu ||\n"
      "goto menu\n"
      ":shell\n"
      "shell\n"
      "goto menu\n";
  return script;
}

std::string entry_script(const NetbootPlan& plan) {
  const std::string menu = menu_script_name;
  std::string script = head;
  if (!plan.web.empty())
    script += "chain --autofree " + plan.web + "/" + menu +
              " && exit ||\necho plydisk: " + plan.web + " does not answer, so all comes by TFTP\n";
  return script + "chain --autofree " + menu + "\n";
}

std::string station_script(const NetbootPlan& plan, const NetbootStation& station) {
  std::string script = head;
  script += "set plydisk-argument plydisk.station=" + station.name + "\n";
  if (station.image.empty()) return script;
  if (!station.has_secret)
    script += "set plydisk-disk " + iscsi_uri(plan.host, station.image, station.name) + "\n";
  const std::string folder = "../images/" + station.image + "/";
  if (station.has_kernel)
    return script + "chain --autofree " + folder +
           (station.is_published ? "" : folder_of(station.version) + "/") + "boot.ipxe\n";
  script += "echo plydisk: version " + std::to_string(station.version) + " of " + station.image +
            ", the image of " + station.name + ", has no kernel that can be loaded\n";
  if (station.has_secret)
    script += "echo and " + station.name + " has a secret, which can't be shown to boot by iSCSI\n";
  else
    script += "echo so this station boots from its disk by iSCSI\nsanboot ${plydisk-disk} ||\n";
  return script + "prompt --timeout 30000 Press a key for a menu ||\nexit 1\n";
}

std::string image_script(const NetbootImage& image) {
  return head + ("chain --autofree " + folder_of(image.version)) + "/boot.ipxe\n";
}

// "initrd=" is how a kernel that is an EFI program finds it.
std::string version_script(const NetbootPlan& plan, const std::string& image, unsigned version,
                           const std::string& arguments) {
  const std::string kernel = netboot_kernel_name, initrd = netboot_initrd_name;
  return head + ("echo plydisk: " + image + ", version " + std::to_string(version)) +
         "\nimgfree ||\nkernel " + kernel + " initrd=" + initrd + " " + arguments +
         " ip=dhcp BOOTIF=01-" + mac + " plydisk=nbd://" + plan.server + "/" + image +
         " ${plydisk-argument} || goto failed\ninitrd --name " + initrd + " " + initrd +
         " || goto failed\nboot || goto failed\n:failed\nimgfree ||\necho plydisk: " + image +
         " can't be loaded from the boot server\n" +
         "prompt --timeout 30000 Press a key for the menu ||\nexit 1\n";
}

}  // namespace plydisk
