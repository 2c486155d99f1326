// What a system that boots from an emulated disk is told, and who it is.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <fstream>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"
#include "boot/arguments.hpp"
#include "boot/disc.hpp"
#include "boot/identity.hpp"

using namespace plydisk;

namespace {

void write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

}  // namespace

TEST_CASE("boot: the kernel's command line") {
  const auto arguments = parse_boot_arguments(
      "BOOT_IMAGE=/vmlinuz root=UUID=1234 ro quiet ip=dhcp plydisk=nbd://192.0.2.2:10810/debian:3 "
      "plydisk.station=pc07 plydisk.writes=\"client-ram:1G,server-volatile\" plydisk.patience=60 "
      "plydisk.identity=mac BOOTIF=01-52-54-00-AB-cd-01\n");
  REQUIRE(arguments);
  CHECK(arguments->uri == "nbd://192.0.2.2:10810/debian:3");
  CHECK(arguments->station == "pc07");
  CHECK(arguments->writes == "client-ram:1G,server-volatile");
  CHECK(arguments->patience == std::chrono::seconds(60));
  CHECK_FALSE(arguments->multicast);
  CHECK(parse_boot_arguments("plydisk=nbd://a/b plydisk.multicast=yes")->multicast);
  CHECK(arguments->identity == "mac");
  CHECK(arguments->boot_mac == "52:54:00:ab:cd:01");

  CHECK_FALSE(parse_boot_arguments("root=/dev/sda1 ro"));
  CHECK_FALSE(parse_boot_arguments("root=/dev/sda1 notplydisk=nbd://a/b"));
  CHECK_FALSE(parse_boot_arguments("init=\"/bin/sh -c plydisk=nbd://a/b\""));
  CHECK_FALSE(parse_boot_arguments(""));
  const auto dhcp = parse_boot_arguments("plydisk=dhcp");
  REQUIRE(dhcp);
  CHECK(dhcp->uri == "dhcp");
  CHECK_FALSE(dhcp->patience);
  // The last one counts, as for the kernel's own.
  CHECK(parse_boot_arguments("plydisk=dhcp plydisk=nbd://a/b")->uri == "nbd://a/b");
  for (const char* const wrong :
       {"plydisk=", "plydisk=debian", "plydisk=nbd://a/b plydisk.station=a/b",
        "plydisk=nbd://a/b plydisk.station=", "plydisk=nbd://a/b plydisk.writes=",
        "plydisk=nbd://a/b plydisk.patience=-1", "plydisk=nbd://a/b plydisk.patience=86401",
        "plydisk=nbd://a/b plydisk.patience=", "plydisk=nbd://a/b plydisk.multicast=auto",
        "plydisk=nbd://a/b plydisk.identity=uuid", "plydisk=nbd://a/b plydisk.stations=a",
        "plydisk=disc:", "plydisk=discs", "plydisk=disc:a b", "plydisk=disc:rescue",
        "plydisk=disc:A/B", "plydisk=disc:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "plydisk=disc plydisk.check=", "plydisk=disc plydisk.check=1"})
    CHECK_THROWS_AS(parse_boot_arguments(wrong), Error);
}

TEST_CASE("boot: a disc on the kernel's command line") {
  const auto any = parse_boot_arguments("root=UUID=1234 plydisk=disc plydisk.check=yes");
  REQUIRE(any);
  CHECK(any->disc == "");
  CHECK(any->uri.empty());
  CHECK(any->checks_disc);
  const auto one = parse_boot_arguments(
      "plydisk=disc:DEBIAN_12AB34CD plydisk.writes=client-ram:512M plydisk.patience=5");
  REQUIRE(one);
  CHECK(one->disc == "DEBIAN_12AB34CD");
  CHECK(one->writes == "client-ram:512M");
  CHECK(one->patience == std::chrono::seconds(5));
  CHECK_FALSE(one->checks_disc);
  // The last one counts.
  const auto server = parse_boot_arguments("plydisk=disc:A plydisk=nbd://a/b");
  CHECK(server->uri == "nbd://a/b");
  CHECK_FALSE(server->disc);
  const auto disc = parse_boot_arguments("plydisk=nbd://a/b plydisk=disc");
  CHECK(disc->uri.empty());
  CHECK(disc->disc == "");
}

TEST_CASE("boot: discs, by what their volumes say") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "medium";
  const auto volume = [&] { return read_disc_volume(File::open(path, O_RDONLY)); };
  std::string bytes(32768 + 2048, '\0');
  const auto put = [&](std::size_t at, const std::string& text) {
    bytes.replace(32768 + at, text.size(), text);
  };
  write(path, bytes);
  CHECK_FALSE(volume());
  put(0, "\1CD001");
  put(40, "DEBIAN_12AB34CD                 ");
  put(80, std::string("\x10\x20\0\0", 4));
  put(128, std::string("\0\x08", 2));
  put(574, "ANOTHER" + std::string(121, ' '));
  write(path, bytes);
  CHECK_FALSE(volume());
  put(574, "PLYDISK" + std::string(121, ' '));
  write(path, bytes);
  REQUIRE(volume());
  CHECK(volume()->label == "DEBIAN_12AB34CD");
  CHECK(volume()->size == std::uint64_t{0x2010} * 2048);
  put(0, "\2CD001");  // another kind of descriptor
  write(path, bytes);
  CHECK_FALSE(volume());
  write(path, bytes.substr(0, 32768 + 100));
  CHECK_FALSE(volume());
}

TEST_CASE("boot: the labels of discs") {
  const std::string label = new_disc_label("debian-12");
  CHECK(label.substr(0, label.size() - 8) == "DEBIAN_12_");
  CHECK(is_valid_disc_label(label));
  CHECK(new_disc_label("debian-12") != label);
  CHECK(new_disc_label(std::string(64, 'x')).size() == 32);
  CHECK(is_valid_disc_label(new_disc_label(std::string(64, 'x'))));
  CHECK_FALSE(is_valid_disc_label(""));
  CHECK_FALSE(is_valid_disc_label("a"));
}

TEST_CASE("boot: what DHCP said") {
  const Lease klibc = parse_lease(
      "DEVICE='eth0'\nPROTO='dhcp'\nHOSTNAME='pc07.example.org'\nROOTPATH='nbd://192.0.2.2/"
      "debian'\n");
  CHECK(klibc.interface == "eth0");
  CHECK(klibc.host_name == "pc07.example.org");
  CHECK(klibc.root_path == "nbd://192.0.2.2/debian");
  const Lease dracut =
      parse_lease("new_host_name=pc08\nnew_root_path=\"nbd://192.0.2.2/debian\"\nrubbish\n=\n");
  CHECK(dracut.host_name == "pc08");
  CHECK(dracut.root_path == "nbd://192.0.2.2/debian");

  const TemporaryFolder root;
  CHECK(find_lease(root.path(), "").host_name.empty());
  write(root.path() / "run/net-ens3.conf", "DEVICE=ens3\nHOSTNAME=first\n");
  write(root.path() / "run/net-ens4.conf", "DEVICE=ens4\nHOSTNAME=second\n");
  write(root.path() / "tmp/dhclient.ens5.dhcpopts", "new_host_name=third\n");
  CHECK(find_lease(root.path(), "").host_name == "first");
  CHECK(find_lease(root.path(), "ens4").host_name == "second");
  CHECK(find_lease(root.path(), "ens5").host_name == "third");
  CHECK(find_lease(root.path(), "ens6").host_name.empty());
  write(root.path() / "run/systemd/netif/leases/7",
        "# private\nADDRESS=10.0.2.15\nHOSTNAME=fourth\n"
        "ROOT_PATH=nbd://192.0.2.2/debian\n");
  write(root.path() / "sys/class/net/ens6/ifindex", "7\n");
  CHECK(find_lease(root.path(), "ens6").host_name == "fourth");
  CHECK(find_lease(root.path(), "ens6").root_path == "nbd://192.0.2.2/debian");
}

TEST_CASE("boot: the station's name") {
  const Machine machine{"pc07.example.org", "52:54:00:12:34:56", "VM 42/b"};
  CHECK(station_name(BootIdentity::host_name, machine) == "pc07");
  CHECK(station_name(BootIdentity::mac, machine) == "52-54-00-12-34-56");
  CHECK(station_name(BootIdentity::serial, machine) == "VM-42-b");
  CHECK(station_name(BootIdentity::host_name, {"", "52:54:00:12:34:56", ""}) ==
        "52-54-00-12-34-56");
  CHECK_THROWS_AS(station_name(BootIdentity::serial, {"pc07", "52:54:00:12:34:56", ""}), Error);
  CHECK_THROWS_AS(station_name(BootIdentity::host_name, {"", "", ""}), Error);
  CHECK_THROWS_AS(station_name(BootIdentity::host_name, {"-x", "", ""}), Error);
  for (const BootIdentity one : {BootIdentity::host_name, BootIdentity::mac, BootIdentity::serial})
    CHECK(parse_boot_identity(to_string(one)) == one);
  CHECK_THROWS_AS(parse_boot_identity(""), Error);
}

TEST_CASE("boot: the machine, by its card and its lease") {
  const TemporaryFolder folder;
  const auto& root = folder.path();
  CHECK(find_machine(root, "").mac.empty());
  const auto card = [&](const std::string& name, const std::string& address, bool is_real) {
    write(root / "sys/class/net" / name / "address", address + "\n");
    if (is_real) std::filesystem::create_directory(root / "sys/class/net" / name / "device");
  };
  card("br0", "02:00:00:00:00:00", false);
  card("ens3", "52:54:00:00:00:03", true);
  card("ens4", "52:54:00:00:00:04", true);
  card("ens5", "52:54:00:00:00:05", true);
  write(root / "sys/class/dmi/id/product_serial", "  SN 1 \n");
  CHECK(find_machine(root, "").mac == "52:54:00:00:00:03");
  CHECK(find_machine(root, "").serial == "SN 1");
  write(root / "run/net-ens4.conf", "DEVICE='ens4'\nHOSTNAME='four'\n");
  CHECK(find_machine(root, "").mac == "52:54:00:00:00:04");
  CHECK(find_machine(root, "").host_name == "four");
  // The card that the firmware has booted with, be it by PXE or by iSCSI.
  CHECK(find_machine(root, "52:54:00:00:00:05").mac == "52:54:00:00:00:05");
  CHECK(find_machine(root, "52:54:00:00:00:05").host_name.empty());
  write(root / "sys/firmware/ibft/ethernet0/mac", "52:54:00:00:00:03\n");
  CHECK(find_machine(root, "").mac == "52:54:00:00:00:03");
  CHECK(find_machine(root, "52:54:00:00:00:05").mac == "52:54:00:00:00:05");
}

TEST_CASE("boot: the target that firmware has booted from") {
  const auto target = parse_target_name("iqn.2026-11.io.plydisk:debian:pc07");
  REQUIRE(target);
  CHECK(target->image == "debian");
  CHECK(target->station == "pc07");
  for (const char* const other :
       {"", "iqn.2026-11.io.plydisk:debian",
        "iqn.2026-11.io.plydisk:debian:", "iqn.2026-11.io.plydisk::pc07",
        "iqn.2010-04.org.ipxe:debian:pc07", "iqn.2026-11.io.plydisk:de/bian:pc07"})
    CHECK_FALSE(parse_target_name(other));
  const TemporaryFolder root;
  CHECK_FALSE(find_firmware_target(root.path()));
  write(root.path() / "sys/firmware/ibft/target0/target-name",
        "iqn.2026-11.io.plydisk:debian:pc07\n");
  CHECK(find_firmware_target(root.path())->station == "pc07");
}
