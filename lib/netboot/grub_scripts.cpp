#include "netboot/grub_scripts.hpp"

#include <algorithm>

#include "netboot/scripts.hpp"

namespace plydisk {

namespace {

constexpr const char* grub_head = "# Made by plydisk netboot, which makes it again.\n";

// As one word, of which no character means anything.
std::string grub_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text)
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  return quoted + "'";
}

std::string path_of_image(const std::string& image) { return "$plydisk/images/" + image; }

std::string path_of_version(const std::string& image, unsigned version) {
  return path_of_image(image) + "/" + std::to_string(version);
}

// Sets what a station's script is found by.
std::string name_setting(const std::string& identity) {
  if (identity == "mac") return "plydisk_name=$plydisk_mac\n";
  if (identity == "serial")
    return "plydisk_name=\nsmbios --type 1 --get-string 7 --set plydisk_name\n";
  return "plydisk_name=$plydisk_hostname\n";
}

// A title of plain characters.
std::string menu_entry(const std::string& title, const std::string& command) {
  return "menuentry \"" + title + "\" {\n  " + command + "\n}\n";
}

}  // namespace

std::string grub_menu_script(const NetbootPlan& plan) {
  std::string script = grub_head;
  script += "plydisk_ready=yes\n" + name_setting(plan.identity);
  script += plan.identity == "mac" ? "plydisk_argument=plydisk.station=$plydisk_mac\n"
                                   : "plydisk_argument=\n";
  script += "export plydisk_argument\nsource $plydisk/stations/$plydisk_name.cfg\n";
  const bool is_any = std::ranges::any_of(plan.images, &NetbootImage::has_kernel);
  script += std::string("set default=0\nset timeout=") +
            (is_any && plan.timeout != 0 ? std::to_string(plan.timeout) : "-1") + "\n";
  for (const NetbootImage& image : plan.images)
    if (image.has_kernel)
      script += menu_entry(
          image.name + (image.description.empty() ? "" : ": " + ipxe_text(image.description)),
          "source " + path_of_image(image.name) + "/boot.cfg");
  return script + menu_entry("The disk of this machine", "exit");
}

std::string grub_station_script(const NetbootStation& station) {
  std::string script = grub_head;
  script += "plydisk_argument=plydisk.station=" + station.name + "\n";
  if (station.image.empty()) return script;
  if (station.has_kernel)
    return script + "source " +
           (station.is_published ? path_of_image(station.image)
                                 : path_of_version(station.image, station.version)) +
           "/boot.cfg\n";
  return script + "echo \"plydisk: version " + std::to_string(station.version) + " of " +
         station.image + ", the image of " + station.name +
         ", has no kernel that can be loaded, and GRUB has no iSCSI\"\n" +
         "sleep --interruptible --verbose 30\n";
}

std::string grub_image_script(const NetbootImage& image) {
  return grub_head + ("source " + path_of_version(image.name, image.version)) + "/boot.cfg\n";
}

std::string grub_version_script(const NetbootPlan& plan, const std::string& image, unsigned version,
                                const std::string& arguments) {
  const std::string folder = path_of_version(image, version);
  std::string words;
  for (std::size_t begin = 0; begin < arguments.size();) {
    const std::size_t end = std::min(arguments.find(' ', begin), arguments.size());
    words += " " + grub_quoted(arguments.substr(begin, end - begin));
    begin = end + 1;
  }
  return grub_head + ("echo \"plydisk: " + image) + ", version " + std::to_string(version) +
         "\"\nif linux " + folder + "/" + netboot_kernel_name + words +
         " ip=dhcp BOOTIF=01-$plydisk_mac " +
         grub_quoted("plydisk=nbd://" + plan.server + "/" + image) +
         " $plydisk_argument; then\n  if initrd " + folder + "/" + netboot_initrd_name +
         "; then boot; fi\nfi\necho \"plydisk: " + image +
         " can't be loaded from the boot server\"\nsleep --interruptible --verbose 30\n";
}

}  // namespace plydisk
