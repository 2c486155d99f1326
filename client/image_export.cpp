#include "image_export.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "base/error.hpp"
#include "base/program.hpp"
#include "capture/same_disk.hpp"
#include "control/store_caller.hpp"
#include "disk_copy.hpp"
#include "engine.hpp"
#include "interruption.hpp"
#include "output.hpp"
#include "output_file.hpp"
#include "private_nbd.hpp"
#include "store/disk_format.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// The parameters of disk.open.
json find_disk_to_export(const Command& command, const std::string& what) {
  // IMAGE@STATION, as sessions may be called.
  if (what.find('@') != std::string::npos) return {{"session", what}};
  const ExportName name = parse_export_name(what);
  try {
    const json image = command.call("image.show", {{"name", name.image}});
    return {{"image", name.image},
            {"version", name.version ? json(*name.version) : image.at("published")}};
  } catch (const Error& error) {
    if (error.code() != ENOENT || name.version) throw;
  }
  try {
    return {{"session", command.call("session.show", {{"session", what}}).at("id")}};
  } catch (const Error& error) {
    if (error.code() != ENOENT) throw;
    throw Error(ENOENT, "there is neither an image nor a session " + quote(what));
  }
}

class DiskExport {
 public:
  DiskExport(const Command& command, const ExportOptions& options, const json& what)
      : command_(command),
        options_(options),
        what_(what),
        caller_(command.store_directory(), {}),
        progress_([this](std::uint64_t done, std::uint64_t total) {
          interruption_.check();
          bar_.show(done, total);
        }) {}

  // These return the disk's size in bytes.
  std::uint64_t to_file() {
    OutputFile out(options_.out, options_.force);
    const auto disk = open();
    const File file = File::open(out.unfinished(), O_RDWR);
    file.truncate(disk->size());
    copy_disk(*disk, file, /*is_empty=*/true, progress_);
    out.finish();
    return disk->size();
  }

  std::uint64_t to_block_device() {
    if (!options_.force)
      throw Error(EEXIST, options_.out + " is a block device: overwrite it with --force");
    const File device = open_device();
    const auto disk = open();
    if (device.size() < disk->size())
      throw Error(ENOSPC, options_.out + " has " + format_size(device.size()) + ", and the disk " +
                              format_size(disk->size()));
    copy_disk(*disk, device, /*is_empty=*/false, progress_);
    device.sync();
    return disk->size();
  }

  std::uint64_t to_standard_output() {
    if (::isatty(STDOUT_FILENO) == 1)
      throw UsageError("standard output is a terminal: lead it to a file or a program");
    const auto disk = open();
    stream_disk(*disk, STDOUT_FILENO, progress_);
    return disk->size();
  }

  // By qemu-img, which reads the disk from a server of its own: so there is never a second copy.
  std::uint64_t convert(const DiskFormat& format) {
    require_installed({{"qemu-img", "qemu-utils"}, {"nbdkit", "nbdkit"}},
                      std::string("to make a file of the format ") + format.name);
    OutputFile out(options_.out, options_.force);
    const std::uint64_t size = open()->size();
    std::vector<std::string> words{"nbdkit",
                                   "--foreground",
                                   "--exit-with-parent",
                                   "--readonly",
                                   plugin_path("plydisk-view"),
                                   "store=" + command_.store_directory().string()};
    for (const auto& [key, value] : what_.items())
      words.push_back(key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
    const PrivateNbdServer server(std::move(words), "--unix", "--pidfile");
    words = {"qemu-img", "convert", "-p", "-f", "raw", "-O", format.driver};
    if (format.options != nullptr) words.insert(words.end(), {"-o", format.options});
    words.insert(words.end(), {server.uri(), out.unfinished().string()});
    Program qemu_img(words);
    qemu_img.read_output([&](std::string_view part) {
      // "    (12.34/100%)"
      const auto bracket = part.rfind('(');
      const std::string percent(part.substr(bracket == part.npos ? part.size() : bracket + 1));
      progress_(
          static_cast<std::uint64_t>(std::atof(percent.c_str()) / 100 * static_cast<double>(size)),
          size);
    });
    qemu_img.require_success();
    out.finish();
    return size;
  }

 private:
  File open_device() const {
    try {
      // O_EXCL: refused if the device is mounted, or part of another one.
      return File::open(options_.out, O_RDWR | O_EXCL);
    } catch (const Error& error) {
      if (error.code() != EBUSY) throw;
      throw Error(EBUSY, options_.out +
                             " is in use on this machine; unmount it, or take it out of "
                             "the volume that it is part of");
    }
  }

  std::unique_ptr<OpenDisk> open() {
    auto disk = caller_.open_disk(what_);
    if (!disk->is_frozen() && !std::exchange(has_warned_, true))
      std::cerr << "plydisk: the disk is being written directly: if that goes on, the copy has "
                   "some of it and lacks the rest\n";
    return disk;
  }

  const Command& command_;
  const ExportOptions& options_;
  const json& what_;
  StoreCaller caller_;
  const Interruption interruption_;
  ProgressBar bar_;
  const Progress progress_;
  bool has_warned_ = false;
};

}  // namespace

void require_not_of_store(const Command& command, const std::filesystem::path& out) {
  namespace fs = std::filesystem;
  const fs::path store = fs::weakly_canonical(command.store_directory());
  const fs::path path = fs::weakly_canonical(absolute_path(out));
  if (std::ranges::mismatch(store, path).in1 == store.end())
    throw Error(EBUSY, out.string() + " lies in the store; name a place outside of it");
  for (const json& image : command.call("image.list", json::object())) {
    const auto backing = image.at("backing").get<std::string>();
    struct stat here {};
    struct stat there {};
    if (image.at("linked").get<bool>() && ::stat(path.c_str(), &here) == 0 &&
        ::stat(backing.c_str(), &there) == 0 && is_same_disk(here, there))
      throw Error(EBUSY, out.string() + " is what the image " +
                             quote(image.at("name").get<std::string>()) +
                             " is served from; name another place");
  }
}

json export_disk(const Command& command, const ExportOptions& options) {
  const bool to_stdout = options.out == "-";
  const DiskFormat& format = options.format.empty() ? disk_format_of(to_stdout ? "" : options.out)
                                                    : disk_format(options.format);
  const bool to_device = std::filesystem::is_block_file(options.out);
  if (!format.is_raw() && (to_stdout || to_device))
    throw UsageError(std::string("the format ") + format.name +
                     " goes to a file: what is written to standard output or a device is raw");
  const json what = find_disk_to_export(command, options.what);
  if (!to_stdout) require_not_of_store(command, options.out);
  DiskExport work(command, options, what);
  const std::uint64_t size = to_stdout          ? work.to_standard_output()
                             : to_device        ? work.to_block_device()
                             : !format.is_raw() ? work.convert(format)
                                                : work.to_file();
  return {{"image", what.value("image", json(nullptr))},
          {"version", what.value("version", json(nullptr))},
          {"session", what.value("session", json(nullptr))},
          {"out", options.out},
          {"format", format.name},
          {"size", size}};
}

}  // namespace plydisk
