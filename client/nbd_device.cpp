#include "nbd_device.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/system_file.hpp"

namespace plydisk {

namespace fs = std::filesystem;

namespace {

std::uint64_t read_number(const fs::path& file) {
  const std::string text = read_text_file(file);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(EIO, file.string() + " is no number: " + text);
  return number;
}

void write_attribute(const fs::path& file, std::uint64_t value) {
  // The observers of durable storage have no business here: no File.
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) throw_errno("cannot open " + file.string());
  const std::string text = std::to_string(value);
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw_errno("cannot set " + file.string() + " to " + text);
}

}  // namespace

unsigned parse_nbd_index(std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with("/dev/")) digits.remove_prefix(5);
  const bool has_name = digits.starts_with("nbd");
  if (has_name) digits.remove_prefix(3);
  unsigned index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  // "nbd03" is no device of the kernel's.
  if (has_name && error == std::errc() && end == digits.data() + digits.size() &&
      std::to_string(index) == digits)
    return index;
  const std::string given = '"' + std::string(text) + '"';
  if (has_name && error == std::errc() && *end == 'p')
    throw Error(EINVAL,
                given + " is a partition: give the whole disk, /dev/nbd" + std::to_string(index));
  throw Error(EINVAL, given + " is no NBD device: give one such as /dev/nbd0");
}

NbdDevice::NbdDevice(unsigned index, SystemRoots roots) : index_(index), roots_(std::move(roots)) {}

bool NbdDevice::is_connected() const { return connected_by().has_value(); }

std::optional<std::string> NbdDevice::backend() const {
  return read_if_there(directory() / "backend");
}

std::optional<unsigned> NbdDevice::connected_by() const {
  const auto pid = read_if_there(directory() / "pid");
  if (!pid) return {};
  return static_cast<unsigned>(std::strtoul(pid->c_str(), nullptr, 10));
}

std::uint64_t NbdDevice::size_bytes() const {
  return read_number(directory() / "size") * 512;  // whatever its sectors are
}

bool NbdDevice::is_read_only() const { return read_number(directory() / "ro") != 0; }

std::vector<DevicePart> NbdDevice::parts() const {
  std::vector<DevicePart> parts = device_parts(directory());
  if (parts.empty())
    throw Error(ENODEV, "the kernel has no " + path() +
                            ": load its driver with \"modprobe nbd\", or take a smaller number");
  return parts;
}

std::vector<std::string> NbdDevice::partitions() const {
  std::vector<std::string> paths;
  for (const DevicePart& part : parts()) paths.push_back((roots_.dev / part.name).string());
  paths.erase(paths.begin());
  return paths;
}

void NbdDevice::set_queue_limits() const {
  const fs::path queue = directory() / "queue";
  write_attribute(queue / "io_timeout", request_timer_ms);
  write_attribute(
      queue / "max_sectors_kb",
      std::min<std::uint64_t>(read_number(queue / "max_hw_sectors_kb"), longest_request_kib));
}

void NbdDevice::scan_partitions() const {
  // The open alone makes the kernel look at a disk that is new to it, and the request at all
  // others.
  const File disk = File::open(path(), O_RDONLY);
  if (::ioctl(disk.fd(), BLKRRPART) == 0) return;
  if (errno == EINVAL)
    throw Error(EINVAL, path() +
                            " can have no partitions: load the kernel's driver with \"modprobe "
                            "nbd max_part=16\"");
  if (errno == EBUSY)
    throw Error(EBUSY, "cannot read the partition table of " + path() +
                           " anew while a partition is in use");
  throw_errno("cannot read the partition table of " + path());
}

void NbdDevice::drop_partitions() const {
  if (!is_connected()) const UniqueFd opened(::open(path().c_str(), O_RDONLY | O_CLOEXEC));
}

void NbdDevice::flush() const {
  const File disk = File::open(path(), O_RDONLY);
  disk.sync();
  if (::ioctl(disk.fd(), BLKFLSBUF) != 0) throw_errno("cannot write the buffers of " + path());
}

}  // namespace plydisk
