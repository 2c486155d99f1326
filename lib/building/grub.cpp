#include "building/grub.hpp"

#include <fcntl.h>

#include <array>
#include <cstring>

#include "base/error.hpp"
#include "base/program.hpp"
#include "base/temporary_folder.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr const char* bios_files = "/usr/lib/grub/i386-pc";
constexpr const char* efi_files = "/usr/lib/grub/x86_64-efi";

// All that a menu needs is in the boot loader, since the disk has no folder of modules.
const std::vector<std::string> common_modules{
    "part_gpt", "part_msdos",     "fat",          "ext2",   "xfs",        "btrfs",
    "search",   "search_fs_uuid", "search_label", "normal", "configfile", "linux",
    "gzio",     "echo",           "test",         "serial", "terminal",   "minicmd",
    "loadenv",  "sleep",          "reboot",       "halt",   "all_video"};

// Fields of boot.img and of core.img's first sector; the GNU GRUB manual, and grub/i386/pc/boot.h
// among the headers that come with it, say where they are. All are little-endian.
constexpr std::size_t boot_code_end = 440;       // the disk's signature and partitions follow
constexpr std::size_t kernel_sector_at = 0x5c;   // 64 bits: where core.img begins
constexpr std::size_t drive_check_at = 0x66;     // a jump over the check below
constexpr std::size_t block_list_at = 512 - 12;  // 64 bits: sector, 16: their number, 16: segment
constexpr std::uint16_t core_segment = 0x820;    // where its second sector is loaded

void put(std::byte* place, std::uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) place[i] = static_cast<std::byte>(value >> (8 * i));
}

void make_loader(const char* format, const fs::path& output, const fs::path& script,
                 const std::vector<std::string>& more_modules) {
  std::vector<std::string> words{"grub-mkimage",  "-O", format, "-o", output.string(), "-c",
                                 script.string(), "-p", "/grub"};
  words.insert(words.end(), common_modules.begin(), common_modules.end());
  words.insert(words.end(), more_modules.begin(), more_modules.end());
  output_of(words);
}

std::vector<std::byte> bytes_of(const fs::path& path) {
  const File file = File::open(path, O_RDONLY);
  std::vector<std::byte> bytes(file.size());
  file.read(bytes.data(), bytes.size(), 0);
  return bytes;
}

// The boot sector loads the first sector of core.img, which has a list of where the others are.
void write_bios_loader(const GrubTask& task, const fs::path& core_path) {
  std::vector<std::byte> core = bytes_of(core_path);
  core.resize((core.size() + sector_size - 1) / sector_size * sector_size);
  const DiskRange& place = *task.layout.bios_boot;
  if (core.size() > place.length)
    throw Error(EFBIG, "GRUB is too large for the partition that is made for it");
  const std::uint64_t first = place.offset / sector_size;
  const std::uint64_t others = core.size() / sector_size - 1;
  put(core.data() + block_list_at, first + 1, 8);
  put(core.data() + block_list_at + 8, others, 2);
  put(core.data() + block_list_at + 10, core_segment, 2);

  std::vector<std::byte> boot = bytes_of(fs::path(bios_files) / "boot.img");
  if (boot.size() != sector_size) throw Error(EIO, "GRUB's boot.img is no boot sector");
  put(boot.data() + kernel_sector_at, first, 8);
  // No operations: some BIOSes pass a wrong drive number, which is then checked and corrected.
  put(boot.data() + drive_check_at, 0x9090, 2);

  const File disk = File::open(task.disk, O_RDWR);
  disk.write(core.data(), core.size(), place.offset);
  disk.write(boot.data(), boot_code_end, 0);
}

}  // namespace

void require_grub() {
  require_installed({{"grub-mkimage", "grub-common"},
                     {std::string(bios_files) + "/boot.img", "grub-pc-bin"},
                     {std::string(efi_files) + "/normal.mod", "grub-efi-amd64-bin"},
                     {"mkfs.vfat", "dosfstools"},
                     {"mcopy", "mtools"}},
                    "to make a disk bootable");
}

std::string grub_menu(const Tree& tree, const GrubTask& task) {
  const std::string find_root = "search --no-floppy --fs-uuid --set=root " + task.root_uuid + "\n";
  // Its own menu looks for modules and fonts beside it.
  if (fs::exists(tree.root / "boot/grub/grub.cfg"))
    return find_root + "set prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n";
  const auto kernels = find_kernels(tree.root);
  if (kernels.empty())
    throw Error(ENOENT, "the tree has no kernel: there is no boot/vmlinuz-… in " +
                            tree.root.string() + "; install one there, or leave out --bootable");
  std::string menu =
      "set default=0\nset timeout=3\n"
      "if serial --unit=0 --speed=115200; then\n"
      "  terminal_input console serial\n  terminal_output console serial\nfi\n" +
      find_root;
  for (const Kernel& kernel : kernels) {
    // A kernel alone knows no file systems' UUIDs; and a FAT's is no name for one that has help.
    const std::string root =
        kernel.initrd.empty() ? "PARTUUID=" + task.layout.root_uuid : "UUID=" + task.root_uuid;
    menu += "menuentry \"Linux " + kernel.version + "\" {\n  linux " + kernel.kernel +
            " root=" + root + " ro console=ttyS0,115200 console=tty0\n";
    if (!kernel.initrd.empty()) menu += "  initrd " + kernel.initrd + "\n";
    menu += "}\n";
  }
  return menu;
}

void install_grub(const GrubTask& task, const std::string& menu) {
  const TemporaryFolder folder;
  const fs::path script = folder.path() / "script", menu_file = folder.path() / "menu",
                 core = folder.path() / "core", efi = folder.path() / "efi";
  const std::string esp_number = task.esp_uuid.substr(0, 4) + "-" + task.esp_uuid.substr(4, 4);
  write_text_file(script, "search --no-floppy --fs-uuid --set=root " + esp_number +
                              "\nset prefix=($root)/grub\n");
  write_text_file(menu_file, menu);
  make_loader("i386-pc", core, script, {"biosdisk"});
  make_loader("x86_64-efi", efi, script, {"efi_gop", "efi_uga"});
  make_boot_file_system({"vfat", task.esp_uuid, task.disk, *task.layout.esp},
                        {{efi, "EFI/BOOT/BOOTX64.EFI"}, {menu_file, "grub/grub.cfg"}});
  write_bios_loader(task, core);
}

}  // namespace plydisk
