// Reading a whole disk, as a session or a version has it; and reading and writing a station's.
#include <sys/stat.h>

#include <vector>

#include "base/error.hpp"
#include "base/hex.hpp"
#include "control/methods.hpp"
#include "control/records.hpp"
#include "stack/disk.hpp"
#include "stack/stack.hpp"
#include "store/names.hpp"

namespace plydisk::methods {

namespace {

constexpr std::uint64_t longest_read = 4 << 20;       // bytes
constexpr std::size_t most_extents = 1000;            // in one answer
constexpr std::uint64_t extents_span = 64ULL << 30U;  // bytes that one call looks at

struct Range {
  std::uint64_t offset, length;
};

void require_view(const ClientDisk& disk) {
  if (!disk.view.stack) throw Error(EBADF, "no disk is open to look at: call disk.open first");
}

Disk& firmware_disk(const ClientDisk& disk) {
  if (!disk.firmware) throw Error(EBADF, "no disk is open to be written: call disk.open first");
  if (disk.firmware->gate()->is_shut())
    throw Error(ESTALE, "the station's system has taken its disk over from the firmware");
  return disk.firmware->disk();
}

// Of one that is open.
std::uint64_t size_of(const ClientDisk& disk) {
  return disk.firmware ? disk.firmware->disk().size() : disk.view.stack->version->size();
}

void require_inside(const Range& range, std::uint64_t size, const Params& params) {
  if (range.offset > size || range.length > size - range.offset)
    params.refuse("the range ends behind the disk, which has " + std::to_string(size) + " bytes");
}

Range range_of(std::uint64_t size, const Params& params, std::uint64_t longest) {
  const Range range{params.number("offset"), params.number("length")};
  require_inside(range, size, params);
  if (range.length > longest)
    params.refuse("at most " + std::to_string(longest) + " bytes are given at once");
  return range;
}

std::unique_ptr<Store::Connection> connect_firmware(ControlService& service,
                                                    const StationRecord& station) {
  if (service.role() != ControlService::Role::server)
    throw Error(ENOTCONN,
                "no server serves this store, and a station's disk is the server's: start "
                "it with: nbdkit plydisk store=" +
                    service.store().directory().string());
  ExportName name;
  name.image = *station.image;
  name.station = station.name;
  return service.store().connect(name, firmware_peer(), false);
}

// What firmware that comes now would have: the disk of the session that goes on, or else of the one
// that has left something, or else of the version that the next one gets.
DiskView view_of(Store& store, const StationRecord& station) {
  std::string found;
  for (const SessionName& session : store.session_names()) {
    if (session.station != station.name || session.image != *station.image) continue;
    if (found.empty() || session.state != "at-rest") found = session.id;
  }
  if (!found.empty()) return store.view_session(found);
  return store.view_version(*station.image,
                            store.catalogue().version_for(*station.image, station.name));
}

void open_station(ControlService& service, const std::string& name, bool writes, ClientDisk& disk) {
  Store& store = service.store();
  if (store.catalogue().role() == StoreRole::station)
    throw Error(EPERM, "this store is an attached disk's, which has no firmware");
  const StationRecord station = store.catalogue().station(name);
  if (!station.image)
    throw Error(EINVAL, "station " + quote(name) + " has no image: set one, so that it has a disk");
  if (writes)
    disk.firmware = connect_firmware(service, station);
  else
    disk.view = view_of(store, station);
}

}  // namespace

json disk_open(ControlService& service, ClientDisk& disk, const Params& params) {
  disk = {};
  if (const auto station = params.optional_text("station")) {
    open_station(service, *station, params.flag("write"), disk);
  } else if (const auto session = params.optional_text("session")) {
    disk.view = service.store().view_session(*session);
  } else {
    const std::uint64_t version = params.number("version");
    if (version > UINT32_MAX) params.refuse("there is no such version");
    disk.view = service.store().view_version(params.text("image"), static_cast<unsigned>(version));
  }
  return {{"size", size_of(disk)}, {"moment", time_json(disk.view.moment)}};
}

json disk_read(ControlService&, ClientDisk& disk, const Params& params) {
  if (!disk.firmware) require_view(disk);
  const auto [offset, length] = range_of(size_of(disk), params, longest_read);
  std::vector<std::uint8_t> bytes(length);
  if (disk.firmware)
    firmware_disk(disk).read(bytes.data(), length, offset);
  else
    disk.view.stack->read(bytes.data(), length, offset);
  return json::binary(std::move(bytes));
}

json disk_write(ControlService&, ClientDisk& disk, const Params& params) {
  Disk& written = firmware_disk(disk);
  const auto bytes = from_hex(params.text("data"));
  if (!bytes) params.refuse("the field \"data\" must be hexadecimal digits, two a byte");
  const std::uint64_t offset = params.number("offset");
  require_inside({offset, bytes->size()}, written.size(), params);
  written.write(bytes->data(), bytes->size(), offset, false, disk.firmware->gate());
  return json::object();
}

json disk_flush(ControlService&, ClientDisk& disk, const Params&) {
  if (!disk.firmware) throw Error(EBADF, "no disk is open to be written: call disk.open first");
  // Also what was written before the system has come.
  disk.firmware->disk().flush();
  return json::object();
}

// It may end before the range does, after at least one extent.
json disk_extents(ControlService&, ClientDisk& disk, const Params& params) {
  require_view(disk);
  const Stack& stack = *disk.view.stack;
  const auto [offset, length] = range_of(stack.version->size(), params, UINT64_MAX);
  const auto files = stack.files();
  json extents = json::array();
  std::uint64_t from = offset, to = offset;
  Source source;
  bool full = false;
  const auto add = [&] {
    const int file = number_of(source, files);
    extents.push_back({from, to - from, source.is_zeros(), file < 0 ? json(nullptr) : json(file)});
  };
  stack.for_each_place(offset, std::min(length, extents_span),
                       [&](Source here, std::uint64_t at, std::uint64_t bytes) {
                         if (full) return;
                         if (here != source && from != to) {
                           add();
                           from = at;
                           full = extents.size() >= most_extents;
                         }
                         source = here;
                         to = at + bytes;
                       });
  if (!full && from != to) add();
  return extents;
}

// For a client on this machine that may open what this process has open, through /proc, and that
// checks by device and inode that it has found the same file.
json disk_files(ControlService&, ClientDisk& disk, const Params&) {
  require_view(disk);
  json files = json::array();
  for (const auto& [source, file] : disk.view.stack->files()) {
    struct stat info {};
    if (::fstat(file->fd(), &info) != 0) throw_errno("cannot stat " + file->path());
    files.push_back({file->fd(), info.st_dev, info.st_ino});
  }
  return files;
}

}  // namespace plydisk::methods
