#include "image_disc.hpp"

#include <fcntl.h>

#include <filesystem>
#include <iostream>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"
#include "boot/disc.hpp"
#include "building/boot_disc.hpp"
#include "control/store_caller.hpp"
#include "disk_copy.hpp"
#include "disk_reader.hpp"
#include "image_export.hpp"
#include "interruption.hpp"
#include "netboot/boot_files.hpp"
#include "output.hpp"
#include "output_file.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

namespace fs = std::filesystem;

struct VersionOfImage {
  std::string image;
  unsigned number;
  std::string name() const { return image + ":" + std::to_string(number); }
};

VersionOfImage version_to_write(const Command& command, const std::string& what) {
  const ExportName name = parse_export_name(what);
  if (name.image.empty() || name.station)
    throw Error(EINVAL, quote(what) + ": a disc is made of a version; name it as IMAGE or " +
                            "IMAGE:VERSION");
  const json image = command.call("image.show", {{"name", name.image}});
  return {name.image, name.version ? *name.version : image.at("published").get<unsigned>()};
}

class DiscMaker {
 public:
  DiscMaker(const Command& command, const DiscOptions& options)
      : options_(options),
        version_(version_to_write(command, options.what)),
        caller_(command.store_directory(), {}),
        disk_(caller_.open_disk({{"image", version_.image}, {"version", version_.number}})),
        files_(find_files()) {}

  json make() {
    require_disc_tools();
    OutputFile out(options_.out, options_.force);
    // What is packed lies beside it, since it takes nearly as much room; it goes at the end.
    const OutputFile packed(options_.out + ".packed", true);
    copy_boot_files();
    pack(packed.unfinished());
    bar_.begin("writing");
    const BootDiscTask task{folder_.path(),   packed.unfinished(),
                            out.unfinished(), new_disc_label(version_.image),
                            version_.name(),  files_.arguments};
    make_boot_disc(task, progress_);
    const std::uint64_t size = fs::file_size(out.unfinished());
    out.finish();
    return {{"image", version_.image},
            {"version", version_.number},
            {"out", options_.out},
            {"label", task.label},
            {"kernel", files_.version},
            {"arguments", null_if_empty(files_.arguments)},
            {"remark", null_if_empty(files_.doubt)},
            {"disk_size", disk_->size()},
            {"size", size}};
  }

 private:
  BootFiles find_files() const {
    BootFiles files;
    try {
      files = find_boot_files(reader_of(*disk_));
    } catch (const Error& error) {
      if (error.code() != ENOEXEC && error.code() != E2BIG) throw;
      throw Error(error.code(), version_.name() + " " + error.what());
    }
    if (!files.is_adapted)
      throw Error(ENOEXEC,
                  version_.name() +
                      " has no plydisk in its initramfs, which would find the disk on the disc: "
                      "capture the system with --adapt; or have a station write a new version, and "
                      "there do what plydisk(1) says under BOOTING");
    return files;
  }

  void copy_boot_files() {
    fs::create_directory(folder_.path() / disc_folder);
    for (const auto& [file, name] :
         {std::pair{files_.kernel, disc_kernel}, {files_.initrd, disc_initrd}}) {
      const File target =
          File::open(folder_.path() / disc_folder / name, O_WRONLY | O_CREAT | O_EXCL, 0644);
      std::uint64_t place = 0;
      read_boot_file(reader_of(*disk_), files_, file, [&](const void* data, std::size_t length) {
        interruption_.check();
        target.write(data, length, place);
        place += length;
      });
    }
  }

  void pack(const fs::path& output) {
    bar_.begin("packing");
    DiskPacker packer(output);
    try {
      stream_disk(*disk_, packer.descriptor(), progress_);
    } catch (const Error& error) {
      // The packer knows why it has ended.
      if (error.code() != EPIPE) throw;
      packer.finish();
      throw;
    }
    packer.finish();
  }

  const DiscOptions& options_;
  const VersionOfImage version_;
  StoreCaller caller_;
  const std::unique_ptr<OpenDisk> disk_;
  const BootFiles files_;
  const TemporaryFolder folder_;
  const Interruption interruption_;
  ProgressBar bar_;
  const Progress progress_ = [this](std::uint64_t done, std::uint64_t total) {
    interruption_.check();
    bar_.show(done, total);
  };
};

}  // namespace

json make_disc(const Command& command, const DiscOptions& options) {
  require_not_of_store(command, options.out);
  return DiscMaker(command, options).make();
}

}  // namespace plydisk
