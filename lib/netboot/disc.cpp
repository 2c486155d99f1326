#include "netboot/disc.hpp"

#include <fcntl.h>

#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/program.hpp"
#include "base/temporary_folder.hpp"
#include "netboot/dnsmasq_conf.hpp"
#include "netboot/grub_scripts.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr const char* ipxe_kernel = "ipxe.lkrn";  // what GRUB can load
constexpr const char* ipxe_script = "plydisk.ipxe";

}  // namespace

void require_netboot_disc_tools() {
  require_installed({{"grub-mkrescue", "grub-common"},
                     {"xorriso", "xorriso"},
                     {"mformat", "mtools"},
                     {"/usr/lib/grub/i386-pc/boot_hybrid.img", "grub-pc-bin"},
                     {"/usr/lib/grub/x86_64-efi/efinet.mod", "grub-efi-amd64-bin"},
                     {fs::path(ipxe_folder) / ipxe_kernel, "ipxe"},
                     {fs::path(ipxe_folder) / ipxe_efi_drivers, "ipxe"}},
                    "to make a disc image");
}

void require_disc_host(const std::string& host) {
  if (host.starts_with('['))
    throw Error(EINVAL, "--iso: such a disc gets an IPv4 address, and can't reach " + host +
                            ": give an IPv4 address or a name with --server");
}

// Card by card, for the first one may be on another network. What is chained returns if its user
// wants this machine's own disk.
std::string disc_ipxe_script(const std::string& host) {
  return "#!ipxe\n"
         ":start\n"
         "set card:int32 0\n"
         ":card\n"
         "isset ${net${card}/mac} || goto failed\n"
         "dhcp net${card} && chain --autofree tftp://" +
         host + "/" + first_script +
         " && exit ||\n"
         "ifclose net${card} ||\n"
         "inc card\n"
         "goto card\n"
         ":failed\n"
         "prompt --timeout 10000 plydisk: the boot server " +
         host +
         " is not reached; press a key to give up && exit 1 ||\n"
         "goto start\n";
}

// The firmware's cards are efinet0, efinet1 and so on; for one that is not there net_bootp
// succeeds. GRUB shows the menu of what it has read when this script ends.
std::string disc_grub_script(const std::string& host) {
  std::string script = "if [ $grub_platform = pc ]; then\n";
  script += std::string("  linux16 /plydisk/") + ipxe_kernel + "\n  initrd16 /plydisk/" +
            ipxe_script + "\n  boot\nfi\n";
  script += "insmod efinet\ninsmod tftp\nplydisk='(tftp," + host +
            ")'\n"
            "export plydisk plydisk_mac plydisk_hostname\n"
            "plydisk_ready=no\n"
            "while [ $plydisk_ready = no ]; do\n"
            "  for card in 0 1 2 3 4 5 6 7; do\n"
            "    if [ $plydisk_ready = no ]; then\n"
            "      net_bootp efinet$card\n"
            "      eval \"mac=\\$net_efinet${card}_dhcp_mac\"\n"
            "      eval \"plydisk_hostname=\\$net_efinet${card}_dhcp_hostname\"\n"
            "      if regexp --set 1:a --set 2:b --set 3:c --set 4:d --set 5:e --set 6:f "
            "'^(..):(..):(..):(..):(..):(..)$' \"$mac\"; then\n"
            "        plydisk_mac=$a-$b-$c-$d-$e-$f\n"
            "        source $plydisk/" +
            std::string(first_grub_script) +
            "\n"
            "      fi\n"
            "    fi\n"
            "  done\n"
            "  if [ $plydisk_ready = no ]; then\n";
  script +=
      "    if [ -z \"$plydisk_mac\" ]; then\n"
      "      echo 'plydisk: this firmware drives no network card; iPXE does, and asks DHCP "
      "what to boot'\n"
      "      chainloader /plydisk/" +
      std::string(ipxe_efi_drivers) +
      "\n"
      "      boot\n"
      "    fi\n"
      "    echo 'plydisk: the boot server " +
      host +
      " is not reached; this goes on in 10 s, or with Esc gives up'\n"
      "    if sleep --interruptible 10; then true; else exit; fi\n"
      "  fi\n"
      "done\n";
  return script;
}

void make_netboot_disc(const std::string& host, const fs::path& file,
                       const std::function<void()>& check) {
  const TemporaryFolder folder;
  // Here, since it is done by children of that program, which may outlive it.
  const fs::path tree = folder.path() / "tree", disc = folder.path() / "disc";
  fs::create_directories(tree / "boot/grub");
  fs::create_directories(tree / "plydisk");
  write_text_file(tree / "boot/grub/grub.cfg", disc_grub_script(host));
  write_text_file(tree / "plydisk" / ipxe_script, disc_ipxe_script(host));
  for (const char* program : {ipxe_kernel, ipxe_efi_drivers})
    fs::copy_file(fs::path(ipxe_folder) / program, tree / "plydisk" / program);
  // Without its languages and fonts, which nothing here is shown in.
  Program program({"grub-mkrescue", "--output=" + disc.string(), "--locales=", "--fonts=",
                   "--themes=", tree.string(), "--", "-volid", "PLYDISK"});
  program.read_output([&](std::string_view) { check(); });
  check();
  program.require_success();
  fs::copy_file(disc, file, fs::copy_options::overwrite_existing);
}

}  // namespace plydisk
