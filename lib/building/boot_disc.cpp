#include "building/boot_disc.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <chrono>
#include <cstring>
#include <sstream>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "boot/disc.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr auto between_checks = std::chrono::milliseconds(50);
constexpr std::uint64_t room_for_grub = 32 << 20;  // bytes; with room to spare
// What a menu needs; the others of GRUB's modules would be four times as much.
constexpr const char* grub_modules =
    "normal part_msdos part_gpt iso9660 fat linux search search_label search_fs_uuid configfile "
    "echo test serial terminal minicmd all_video gzio halt reboot sleep";
constexpr const char* pipe_name = "pipe";

// For a shell.
std::string in_quotes(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

// The disk comes out of a pipe as a file that is not there: so there is never a second copy.
std::vector<std::string> packer_words(const fs::path& folder, const fs::path& output) {
  const fs::path empty = folder / "empty", pipe = folder / pipe_name;
  fs::create_directory(empty);
  if (::mkfifo(pipe.c_str(), 0600) != 0) throw_errno("cannot make " + pipe.string());
  const std::string disk = std::string(disc_disk) + " f 444 0 0 cat " + in_quotes(pipe.string());
  return {"mksquashfs", empty.string(), output.string(), "-noappend", "-no-progress",
          "-quiet",     "-all-root",    "-comp",         "zstd",      "-Xcompression-level",
          "9",          "-b",           "128K",          "-p",        disk};
}

// Whoever just opened it would wait for ever for a reader that has failed before it reads.
UniqueFd open_pipe(const fs::path& pipe, Program& reader) {
  while (true) {
    UniqueFd writer(::open(pipe.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (writer) {
      ::fcntl(writer.get(), F_SETFL, 0);
      return writer;
    }
    if (errno != ENXIO && errno != EINTR) throw_errno("cannot open " + pipe.string());
    if (!reader.is_running()) {
      reader.require_success();
      throw Error(EIO, "mksquashfs did not read the disk");
    }
    std::this_thread::sleep_for(between_checks);
  }
}

// What the maker's last line does not tell.
std::string reason_in(const std::string& errors) {
  std::istringstream lines(errors);
  for (std::string line; std::getline(lines, line);)
    for (const char* const mark : {" : FAILURE : ", " : FATAL : "})
      if (const auto at = line.find(mark); at != line.npos)
        return "xorriso: " + line.substr(at + std::strlen(mark));
  return "grub-mkrescue fails";
}

void require_room(const fs::path& folder, std::uint64_t bytes) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) throw_errno("cannot look at " + folder.string());
  const std::uint64_t available = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (available < bytes)
    throw Error(ENOSPC, "there is no room for the disc in " + folder.string() + ": it takes " +
                            std::to_string(bytes >> 20U) + " MiB, and " +
                            std::to_string(available >> 20U) + " MiB are left");
}

}  // namespace

void require_disc_tools() {
  require_installed({{"mksquashfs", "squashfs-tools"},
                     {"grub-mkrescue", "grub-common"},
                     {"xorriso", "xorriso"},
                     {"mformat", "mtools"},
                     {"/usr/lib/grub/i386-pc/boot_hybrid.img", "grub-pc-bin"},
                     {"/usr/lib/grub/x86_64-efi/normal.mod", "grub-efi-amd64-bin"}},
                    "to make a disc");
}

DiskPacker::DiskPacker(const fs::path& output)
    : output_folder_(output.parent_path()),
      program_(packer_words(folder_.path(), output)),
      pipe_(open_pipe(folder_.path() / pipe_name, program_)),
      sigpipe_before_(::signal(SIGPIPE, SIG_IGN)) {}

DiskPacker::~DiskPacker() { ::signal(SIGPIPE, sigpipe_before_); }

void DiskPacker::finish() {
  pipe_.reset();
  const ProgramResult result = program_.finish();
  if (result.status == 0) return;
  // Its last line does not say so.
  if (result.errors.find(std::strerror(ENOSPC)) != std::string::npos)
    throw Error(ENOSPC, "there is no room for the packed disk in " + output_folder_.string());
  throw Error(EIO, program_.complaint(result));
}

std::string boot_disc_menu(const BootDiscTask& task) {
  std::string line = std::string("  linux /") + disc_folder + "/" + disc_kernel;
  std::istringstream words(task.arguments);
  for (std::string word; words >> word;) line += " " + in_quotes(word);
  line += " plydisk=disc:" + task.label;
  const auto entry = [&](const std::string& title, const std::string& more) {
    return "menuentry " + in_quotes(title) + " {\n" + line + more + "\n  initrd /" + disc_folder +
           "/" + disc_initrd + "\n}\n";
  };
  return "set default=0\nset timeout=5\n"
         "if serial --unit=0 --speed=115200; then\n"
         "  terminal_input console serial\n  terminal_output console serial\nfi\n" +
         entry(task.title, "") +
         entry(task.title + ", after a check of this disc", " plydisk.check=yes");
}

void make_boot_disc(const BootDiscTask& task, const Progress& progress) {
  const fs::path own = task.folder / disc_folder;
  const File packed = File::open(task.packed, O_RDONLY);
  // Looking at it and writing it: as many bytes each.
  const std::uint64_t size = packed.size();
  write_text_file(own / disc_hash, hash_of_file(packed, [&](std::uint64_t done, std::uint64_t) {
                                     progress(done, 2 * size);
                                   }) + "\n");
  fs::create_directories(task.folder / "boot/grub");
  write_text_file(task.folder / "boot/grub/grub.cfg", boot_disc_menu(task));
  require_room(task.output.parent_path(), size + fs::file_size(own / disc_kernel) +
                                              fs::file_size(own / disc_initrd) + room_for_grub);
  // One that is ended leaves its files behind, and a child that goes on as long as it has them.
  const TemporaryFolder files;
  // Behind the "--" are words of xorriso's own. Without level 3, no file may have 4 GiB.
  Program maker({"env",
                 "TMPDIR=" + files.path().string(),
                 "grub-mkrescue",
                 "-o",
                 task.output.string(),
                 "--locales=",
                 "--fonts=",
                 "--themes=",
                 "--compress=no",
                 std::string("--install-modules=") + grub_modules,
                 task.folder.string(),
                 "--",
                 "-volid",
                 task.label,
                 "-application_id",
                 disc_application,
                 "-compliance",
                 "iso_9660_level=3",
                 "-map",
                 task.packed.string(),
                 std::string("/") + disc_folder + "/" + disc_packed});
  while (maker.is_running()) {
    std::error_code ignored;
    const std::uint64_t written = fs::file_size(task.output, ignored);
    progress(size + (ignored ? 0 : std::min(written, size)), 2 * size);
    std::this_thread::sleep_for(between_checks);
  }
  const ProgramResult result = maker.finish();
  if (result.status != 0) throw Error(EIO, "cannot make the disc: " + reason_in(result.errors));
}

}  // namespace plydisk
