// What is written for boot servers: GRUB's configuration read, scripts and configurations made, and
// the folder that they are in.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "base/file.hpp"
#include "building/tree_disk.hpp"
#include "netboot/boot_files.hpp"
#include "netboot/disc.hpp"
#include "netboot/dnsmasq_conf.hpp"
#include "netboot/folder.hpp"
#include "netboot/grub_config.hpp"
#include "netboot/grub_scripts.hpp"
#include "netboot/scripts.hpp"
#include "netboot/web_server.hpp"
#include "test_support.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::mentions;
using test::TemporaryDirectory;

constexpr const char* kernel_name = "vmlinuz-6.1.0-18-amd64";
constexpr const char* root_uuid = "01234567-89ab-cdef-0123-456789abcdef";

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// "-" if there is no entry.
std::string arguments_in(const std::string& config) {
  const auto words = grub_arguments(config, kernel_name);
  return words ? joined(*words) : "-";
}

std::string entry(const std::string& arguments) {
  return "menuentry 'Debian' {\n\tlinux\t/boot/" + std::string(kernel_name) + " " + arguments +
         "\n\tinitrd /boot/initrd.img-6.1.0-18-amd64\n}\n";
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

bool has_line(const std::string& text, const std::string& wanted) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line == wanted) return true;
  return false;
}

NetbootPlan plan_of(const std::string& identity) {
  NetbootPlan plan;
  plan.server = "192.0.2.1:10810";
  plan.host = "192.0.2.1";
  plan.identity = identity;
  plan.timeout = 7;
  plan.images = {{"data", "", 3, false}, {"debian", "Room 4", 2, true}, {"other", "", 1, true}};
  return plan;
}

}  // namespace

TEST_CASE("netboot: the arguments of a kernel in GRUB's configuration") {
  CHECK(arguments_in("set default=0\n" + entry("root=UUID=x ro quiet")) == "root=UUID=x ro quiet");
  CHECK(arguments_in(entry("single root=/dev/sda1") + entry("root=/dev/sda2 ro")) ==
        "root=/dev/sda2 ro");
  CHECK(arguments_in("menuentry 'x' { linux /vmlinuz-5.10 a; linux (hd0,1)/" +
                     std::string(kernel_name) + " b ; }") == "b");
  CHECK(arguments_in("if [ x = y ]; then linuxefi $root/" + std::string(kernel_name) + " c; fi") ==
        "c");
  CHECK(arguments_in(entry("a $vt_handoff \"b${x}\" 'c$' d\\ e \\\n f # g")) == "a c$ d e f");
  CHECK(arguments_in(entry("\"dyndbg=file x +p\" 'it'\\''s'")) == "dyndbg=file x +p it's");
  CHECK(arguments_in("# it's\n" + entry("a")) == "a");
}

TEST_CASE("netboot: configurations of GRUB that are none") {
  const std::string kernel = kernel_name;
  for (const std::string& config :
       {std::string(), std::string("\0linux\0", 7), std::string("linux"),
        "linux /boot/" + kernel + "x a", "echo linux /boot/" + kernel,
        "menuentry 'never closed { linux /boot/" + kernel + " a", "\"" + entry("a"),
        std::string(100'000, '{'), std::string(100'000, '\\'), entry("single"),
        "linux '/boot/" + kernel + " a\n"})
    CHECK_MESSAGE(arguments_in(config) == "-", config.substr(0, 40));
  CHECK(arguments_in("linux /boot/" + kernel) == "");
  CHECK(arguments_in("linux /boot/" + kernel + " \"a") == "a");
  CHECK(arguments_in("linux /boot/" + kernel + " a\\") == "a\\");
}

TEST_CASE("netboot: the arguments that a kernel gets from the firmware's script") {
  const auto arguments = [](const std::vector<std::string>& words, const char* uuid = root_uuid) {
    return netboot_arguments(words, uuid);
  };
  const std::string root = std::string("root=UUID=") + root_uuid;
  CHECK(arguments({}) == root + " ro");
  CHECK(arguments({"rw", "quiet"}) == root + " rw quiet");
  CHECK(arguments({"root=/dev/sda1", "ro"}) == root + " ro");
  CHECK(arguments({"root=/dev/nvme0n1p2"}) == root);
  CHECK(arguments({"root=/dev/nbd0p1", "ro"}) == "root=/dev/nbd0p1 ro");
  CHECK(arguments({"root=LABEL=x"}, "") == "root=LABEL=x");
  CHECK(arguments({"root=UUID=x", "ip=10.0.0.1::", "plydisk=nbd://a/b", "plydisk.station=c",
                   "BOOTIF=d", "initrd=e", "BOOT_IMAGE=f", "nbdroot=g", "ro"}) == "root=UUID=x ro");
  // What would end the script's command, or be more than one word in it.
  CHECK(arguments({"root=UUID=x", "||", "&&", ";", "#", "a b", "${netX/mac}", "c\nd", "\x80", "",
                   "console=ttyS0,115200"}) == "root=UUID=x console=ttyS0,115200");
  CHECK(error_of([&] { arguments({"quiet"}, ""); }).code() == ENOEXEC);
  CHECK(error_of([&] { arguments({std::string(2000, 'x')}); }).code() == E2BIG);
}

TEST_CASE("netboot: the kernel and the initrd of a disk") {
  const TemporaryDirectory directory;
  const fs::path tree = directory.path() / "tree";
  const std::string initrd(3'000'000, 'i');
  put_text(tree / "etc/fstab", "");
  put_text(tree / "boot" / kernel_name, "the kernel");
  put_text(tree / "srv/initrd", initrd);
  fs::create_symlink("/srv/initrd", tree / "boot/initrd.img-6.1.0-18-amd64");
  put_text(tree / "boot/vmlinuz-6.1.0-9-amd64", "older");
  put_text(tree / "boot/initrd.img-6.1.0-9-amd64", "older");
  put_text(tree / "boot/vmlinuz-6.1.0-20-amd64", "without initrd");
  put_text(tree / "boot/vmlinuz-6.1.0-30-amd64", "dangling");
  fs::create_symlink("nowhere", tree / "boot/initrd.img-6.1.0-30-amd64");
  put_text(tree / "boot/vmlinuz-9 ;x", "a trap");
  put_text(tree / "boot/grub/grub.cfg", entry("root=/dev/vda1 quiet"));
  const fs::path path = directory.path() / "disk";
  const auto build = [&] {
    TreeDiskOptions options;
    options.tree = tree;
    options.size = 32 << 20;
    File::open(path, O_RDWR | O_CREAT | O_TRUNC);
    TreeDisk(options).build(path);
  };
  build();
  const File file = File::open(path, O_RDONLY);
  const DiskReader disk{file.size(), [&](void* buffer, std::size_t length, std::uint64_t offset) {
                          file.read(buffer, length, offset);
                        }};
  const BootFiles files = find_boot_files(disk);
  CHECK(files.version == "6.1.0-18-amd64");
  CHECK(files.arguments.starts_with("root=UUID="));
  CHECK(files.arguments.ends_with(" quiet"));
  CHECK(files.bytes() == 10 + initrd.size());
  CHECK(files.doubt.empty());
  CHECK_FALSE(files.is_adapted);
  std::string read;
  read_boot_file(disk, files, files.initrd, [&](const void* data, std::size_t length) {
    read.append(static_cast<const char*>(data), length);
  });
  CHECK(read == initrd);

  const DiskReader nothing{1 << 20, [](void* buffer, std::size_t length, std::uint64_t) {
                             std::fill_n(static_cast<char*>(buffer), length, '\0');
                           }};
  CHECK(error_of([&] { find_boot_files(nothing); }).code() == ENOEXEC);
}

TEST_CASE("netboot: the menu") {
  const std::string menu = menu_script(plan_of("hostname"));
  CHECK(menu.starts_with("#!ipxe\n"));
  CHECK(has_line(menu, "chain --autofree stations/${hostname:uristring}.ipxe ||"));
  CHECK(has_line(menu, "item debian debian: Room 4"));
  CHECK(has_line(menu, "item other other"));
  CHECK(menu.find("item data") == menu.npos);
  CHECK(has_line(menu, "choose --default debian --timeout 7000 plydisk-image || goto menu"));
  CHECK(menu.find("plydisk.station=") == menu.npos);

  CHECK(
      has_line(menu, "isset ${plydisk-disk} && item .disk The disk of this station, by iSCSI ||"));

  const std::string by_mac = menu_script(plan_of("mac"));
  CHECK(has_line(by_mac, "set plydisk-argument plydisk.station=${netX/mac:hexhyp}"));
  CHECK(has_line(by_mac, "chain --autofree stations/${netX/mac:hexhyp}.ipxe ||"));
  CHECK(has_line(menu_script(plan_of("serial")),
                 "chain --autofree stations/${serial:uristring}.ipxe ||"));

  NetbootPlan plan = plan_of("hostname");
  plan.timeout = 0;
  CHECK(has_line(menu_script(plan), "choose --default debian plydisk-image || goto menu"));
  plan.images.resize(1);
  CHECK(has_line(menu_script(plan), "menu plydisk: there is no image that can be booted"));
}

TEST_CASE("netboot: from a web server") {
  NetbootPlan plan = plan_of("hostname");
  plan.web = parse_web_server("http://192.0.2.1:8080/boot/").url();
  const std::string script = entry_script(plan);
  CHECK(has_line(script, "chain --autofree http://192.0.2.1:8080/boot/menu.ipxe && exit ||"));
  CHECK(has_line(script, "chain --autofree menu.ipxe"));
  CHECK(entry_script(plan_of("hostname")).ends_with("it again.\nchain --autofree menu.ipxe\n"));
  CHECK(parse_web_server("http://[2001:db8::1]").url() == "http://[2001:db8::1]");
  CHECK(parse_web_server("http://boot.example.org:80").port == 80);
  for (const char* bad :
       {"", "192.0.2.1", "https://192.0.2.1", "http://", "http://h:0", "http://h:65536",
        "http://h/a b", "http://h/$x", "http://h//", "http://h?x", "http://u@h"})
    CHECK(error_of([&] { parse_web_server(bad); }).code() == EINVAL);
}

TEST_CASE("netboot: scripts of stations, images and versions") {
  NetbootStation station{"pc07", "debian", 2, true, true};
  const auto is_set = [](const std::string& text) {
    return has_line(text, "set plydisk-argument plydisk.station=pc07");
  };
  const auto script = [&] { return station_script(plan_of("hostname"), station); };
  const std::string disk = "iscsi:192.0.2.1:::1:iqn.2026-11.io.plydisk:debian:pc07";
  CHECK(is_set(script()));
  CHECK(has_line(script(), "set plydisk-disk " + disk));
  CHECK(has_line(script(), "chain --autofree ../images/debian/boot.ipxe"));
  CHECK(script().find("sanboot") == std::string::npos);
  station.is_published = false;
  CHECK(has_line(script(), "chain --autofree ../images/debian/2/boot.ipxe"));
  station.has_kernel = false;
  CHECK(script().find("chain") == std::string::npos);
  CHECK(has_line(script(), "sanboot ${plydisk-disk} ||"));
  CHECK(has_line(script(), "exit 1"));
  station.has_secret = true;
  CHECK(script().find("sanboot") == std::string::npos);
  CHECK(script().find("plydisk-disk") == std::string::npos);
  CHECK(has_line(script(), "exit 1"));
  station.image.clear();
  CHECK(is_set(script()));
  CHECK(script().find("exit") == std::string::npos);

  CHECK(has_line(image_script({"debian", "", 12, true}), "chain --autofree 12/boot.ipxe"));
  CHECK(has_line(version_script(plan_of("mac"), "debian", 12, "root=x ro"),
                 "kernel vmlinuz initrd=initrd.img root=x ro ip=dhcp "
                 "BOOTIF=01-${netX/mac:hexhyp} plydisk=nbd://192.0.2.1:10810/debian "
                 "${plydisk-argument} || goto failed"));
}

TEST_CASE("netboot: the same for GRUB") {
  NetbootPlan plan = plan_of("hostname");
  plan.images[1].description = "Room \"4\" $x";
  std::string menu = grub_menu_script(plan);
  CHECK(has_line(menu, "plydisk_name=$plydisk_hostname"));
  CHECK(has_line(menu, "source $plydisk/stations/$plydisk_name.cfg"));
  CHECK(has_line(menu, "set timeout=7"));
  CHECK(has_line(menu, "menuentry \"debian: Room ?4? ?x\" {"));
  CHECK(has_line(menu, "  source $plydisk/images/debian/boot.cfg"));
  CHECK(menu.find("data") == menu.npos);
  menu = grub_menu_script(plan_of("mac"));
  CHECK(has_line(menu, "plydisk_argument=plydisk.station=$plydisk_mac"));
  CHECK(grub_menu_script(plan_of("serial")).find("smbios --type 1") != menu.npos);
  plan.images.resize(1);
  CHECK(has_line(grub_menu_script(plan), "set timeout=-1"));

  NetbootStation station{"pc07", "debian", 2, true, false};
  CHECK(has_line(grub_station_script(station), "plydisk_argument=plydisk.station=pc07"));
  CHECK(has_line(grub_station_script(station), "source $plydisk/images/debian/2/boot.cfg"));
  station.is_published = true;
  CHECK(has_line(grub_station_script(station), "source $plydisk/images/debian/boot.cfg"));
  station.has_kernel = false;
  CHECK(grub_station_script(station).find("source") == std::string::npos);

  CHECK(has_line(grub_image_script({"debian", "", 12, true}),
                 "source $plydisk/images/debian/12/boot.cfg"));
  CHECK(has_line(grub_version_script(plan_of("mac"), "debian", 12, "root=x it's {;}"),
                 "if linux $plydisk/images/debian/12/vmlinuz 'root=x' 'it'\\''s' '{;}' ip=dhcp "
                 "BOOTIF=01-$plydisk_mac 'plydisk=nbd://192.0.2.1:10810/debian' "
                 "$plydisk_argument; then"));
}

TEST_CASE("netboot: what is on a disc") {
  CHECK(disc_ipxe_script("192.0.2.1").find(" tftp://192.0.2.1/plydisk.ipxe ") != std::string::npos);
  CHECK(has_line(disc_grub_script("192.0.2.1"), "plydisk='(tftp,192.0.2.1)'"));
  CHECK(has_line(disc_grub_script("192.0.2.1"), "        source $plydisk/plydisk.cfg"));
  require_disc_host("boot.example");
  CHECK(error_of([] { require_disc_host("[2001:db8::1]"); }).code() == EINVAL);
}

TEST_CASE("netboot: nothing that users wrote means anything to iPXE") {
  CHECK(ipxe_text("Room 4, (new)") == "Room 4, (new)");
  CHECK(ipxe_text("a ${net0/mac} || b && c ; d\n#e\\") == "a ??net0/mac? ?? b ?? c ? d??e?");
  CHECK(ipxe_text("Büro") == "B?ro");
  CHECK(ipxe_text(std::string("a\0b", 3)) == "a?b");
}

TEST_CASE("netboot: networks and ranges") {
  CHECK(ipv4_text(parse_ipv4_network("192.168.1.77/24").address) == "192.168.1.0");
  CHECK(ipv4_text(parse_ipv4_network("10.9.0.1/8").mask()) == "255.0.0.0");
  CHECK(parse_ipv4_network("1.2.3.4/0").contains(*parse_ipv4("255.255.255.255")));
  for (const char* text : {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "fd00::/64",
                           "10.0.0.0/8x", "10.0.0.0/-1"})
    CHECK_MESSAGE(error_of([&] { parse_ipv4_network(text); }).code() == EINVAL, text);
  const DhcpRange range = parse_dhcp_range("10.0.0.5,10.0.0.9,255.255.255.0");
  CHECK(ipv4_text(range.from) == "10.0.0.5");
  CHECK(ipv4_text(range.to) == "10.0.0.9");
  CHECK(ipv4_text(*range.mask) == "255.255.255.0");
  CHECK_FALSE(parse_dhcp_range("10.0.0.5,10.0.0.5").mask);
  for (const char* text :
       {"", ",", "10.0.0.5", "10.0.0.5,", "10.0.0.9,10.0.0.5", "10.0.0.5,10.0.0.9,",
        "10.0.0.5,10.0.0.9,255.0.255.0", "10.0.0.5,10.0.1.9,255.255.255.0", "10.0.0.5,x",
        "10.0.0.5,10.0.0.9,255.255.255.0,1h", "10.0.0.5\n,10.0.0.9"})
    CHECK_MESSAGE(error_of([&] { parse_dhcp_range(text); }).code() == EINVAL, text);
}

TEST_CASE("netboot: the configuration of dnsmasq") {
  DnsmasqOptions options;
  options.tftp_root = "/srv/net boot/tftp";
  options.hosts = "/srv/net boot/dhcp-hosts";
  options.proxy = parse_ipv4_network("10.9.0.0/24");
  std::string conf = dnsmasq_conf(options);
  CHECK(has_line(conf, "port=0"));
  CHECK(has_line(conf, "tftp-root=\"/srv/net boot/tftp\""));
  CHECK(has_line(conf, "dhcp-range=10.9.0.0,proxy,255.255.255.0"));
  CHECK(has_line(conf, "pxe-service=tag:!ipxe,X86-64_EFI,\"plydisk\",snponly.efi"));
  CHECK(conf.find("interface=") == conf.npos);
  CHECK(conf.find("dhcp-hostsfile") == conf.npos);
  options.interface = "eth1";
  conf = dnsmasq_conf(options);
  CHECK(has_line(conf, "interface=eth1"));
  CHECK_FALSE(has_line(conf, "enable-ra"));
  options.range = parse_dhcp_range("10.9.0.100,10.9.0.200,255.255.255.0");
  conf = dnsmasq_conf(options);
  CHECK(has_line(conf, "dhcp-range=10.9.0.100,10.9.0.200,255.255.255.0,12h"));
  CHECK(has_line(conf, "dhcp-boot=tag:!ipxe,tag:efi,snponly.efi"));
  CHECK(has_line(conf, "dhcp-hostsfile=\"/srv/net boot/dhcp-hosts\""));
  CHECK(has_line(conf, "enable-ra"));
  CHECK(conf.find("proxy") == conf.npos);
}

TEST_CASE("netboot: a folder that stations read at any moment") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "netboot";
  const auto make_files = [](const fs::path& folder) { put_text(folder / "vmlinuz", "kernel"); };
  using Names = std::vector<std::string>;
  {
    NetbootFolder folder(path);
    CHECK(error_of([&] { NetbootFolder other(path); }).code() == EBUSY);
    folder.put_version("debian", 1, "a", make_files);
    folder.put_text("tftp/images/debian/boot.ipxe", "1");
    folder.put_text("tftp/stations/pc07.ipxe", "x");
    folder.finish({{"debian", 1}});
    CHECK(folder.take_changes().written ==
          Names{"tftp/images/debian/1", "tftp/images/debian/boot.ipxe", "tftp/stations/pc07.ipxe"});
    CHECK(folder.version_source("debian", 1) == "a");
    CHECK(folder.version_source("debian", 2).empty());
    struct stat info {};
    ::stat((path / "tftp/images/debian/1/vmlinuz").c_str(), &info);
    CHECK((info.st_mode & 07777U) == 0644);

    // The same again is nothing; another version leaves the first for a while.
    folder.put_text("tftp/images/debian/boot.ipxe", "1");
    CHECK(folder.take_changes().written.empty());
    folder.put_version("debian", 2, "b", make_files);
    folder.put_text("tftp/images/debian/boot.ipxe", "2");
    folder.finish({{"debian", 2}});
    folder.remove_unused(std::chrono::seconds(100));
    CHECK(folder.take_changes().removed == Names{"tftp/stations/pc07.ipxe"});
    folder.remove_unused(std::chrono::seconds(0));
    CHECK(folder.take_changes().removed == Names{"tftp/images/debian/1"});

    // One that fails leaves what there was.
    CHECK(error_of([&] {
            folder.put_version("debian", 2, "c", [](const fs::path& made) {
              put_text(made / "vmlinuz", "half");
              throw Error(EIO, "no more");
            });
          }).code() == EIO);
    CHECK(folder.version_source("debian", 2) == "b");
    CHECK(text_of(path / "tftp/images/debian/2/vmlinuz") == "kernel");
    folder.put_version("debian", 2, "c", make_files);
    CHECK(folder.version_source("debian", 2) == "c");
    CHECK_FALSE(fs::exists(path / "tftp/images/debian/.2.part"));
    folder.finish({});
    folder.remove_unused(std::chrono::seconds(0));
    CHECK_FALSE(fs::exists(path / "tftp/images/debian"));
  }
  // What a power cut left.
  put_text(path / "tftp/.plydisk.ipxe.part", "half");
  const NetbootFolder again(path);
  CHECK_FALSE(fs::exists(path / "tftp/.plydisk.ipxe.part"));

  put_text(directory.path() / "others/file", "");
  const Error error = error_of([&] { NetbootFolder(directory.path() / "others"); });
  CHECK(error.code() == EEXIST);
  CHECK(mentions(error, "did not make"));
  CHECK(error_of([&] { NetbootFolder(directory.path() / "others/file"); }).code() == ENOTDIR);
  CHECK(error_of([&] { NetbootFolder(directory.path() / "a/b"); }).code() == ENOENT);
  CHECK(error_of([&] { NetbootFolder(directory.path() / "a#b"); }).code() == EINVAL);
}

}  // namespace plydisk
