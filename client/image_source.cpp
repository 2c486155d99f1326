#include "image_source.hpp"

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "store/disk_format.hpp"
#include "store/names.hpp"

namespace plydisk {

ImageSource::ImageSource(const std::string& from, const std::string& format, bool link)
    : from_(is_nbd_uri(from) ? from : absolute_path(from)) {
  if (is_nbd_uri(from)) {
    if (!format.empty() && !disk_format(format).is_raw())
      throw UsageError("what an NBD server exports is raw: --format is for files");
    return;
  }
  // The contents of a file never say what format it has. A disk that a guest has written is a raw
  // file whose first sectors are the guest's: with the header of another format there, it would
  // name any file of this machine as the one that its data is in. So the user says it, by the name
  // or by the option; and what the file then refers to is opened by a process of the user's, not by
  // the server.
  const DiskFormat& file_format = format.empty() ? disk_format_of(from_) : disk_format(format);
  if (file_format.is_raw()) {
    if (const DiskFormat* const other = format.empty() ? format_by_header(from_) : nullptr)
      remark_ = from_ + " is taken for a raw disk; if it is to be read as " + other->name +
                ", say so with --format " + other->name;
    return;
  }
  if (link)
    throw Error(EINVAL, std::string("a ") + file_format.name +
                            " file can't be linked; serve it with \"qemu-nbd --persistent "
                            "--read-only --shared=0 --format=" +
                            file_format.driver + " --socket=/run/disk.sock " + from_ +
                            "\", and link nbd+unix:///?socket=/run/disk.sock");
  require_installed({{"qemu-nbd", "qemu-utils"}, {"qemu-img", "qemu-utils"}},
                    std::string("to read a ") + file_format.name + " file");
  // Says what is wrong with the file in fewer words than the server would.
  output_of({"qemu-img", "info", "-f", file_format.driver, "--output=json", from_});
  // The store opens several connections.
  server_.emplace(std::vector<std::string>{"qemu-nbd", "--persistent", "--read-only", "--shared=0",
                                           std::string("--format=") + file_format.driver, from_},
                  "--socket", "--pid-file");
  from_ = server_->uri();
}

}  // namespace plydisk
