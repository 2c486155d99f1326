#include "attached_disk.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "nbd_device.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr const char* record_name = "disk.json";
constexpr const char* lock_name = "lock";

AttachedDisk load(const std::filesystem::path& folder) {
  const json record = json::parse(read_text_file(folder / record_name));
  AttachedDisk disk;
  disk.name = folder.filename();
  if (!record.at("device").is_null()) disk.device = record["device"].get<unsigned>();
  disk.socket = record.at("socket").get<std::string>();
  disk.uri = record.at("uri");
  disk.image = record.at("image");
  disk.token = record.at("token");
  disk.control = record.at("control");
  disk.uuid = record.at("uuid");
  disk.station = record.at("station");
  disk.writes = record.at("writes");
  disk.store = record.at("store").get<std::string>();
  disk.keeps_files = record.at("keeps_files");
  disk.read_only = record.at("read_only");
  disk.multicast = record.value("multicast", false);
  disk.connections = record.at("connections");
  if (!record.at("patience").is_null()) disk.patience = record["patience"].get<unsigned>();
  return disk;
}

}  // namespace

std::filesystem::path run_folder() {
  const char* const folder = std::getenv("PLYDISK_RUN");
  return folder != nullptr && *folder != '\0' ? folder : "/run/plydisk";
}

std::filesystem::path AttachedDisk::folder() const { return run_folder() / name; }

std::string AttachedDisk::title() const {
  return device ? NbdDevice(*device).path() : socket.string();
}

void AttachedDisk::save() const {
  const json record{{"device", device ? json(*device) : json(nullptr)},
                    {"socket", socket.string()},
                    {"uri", uri},
                    {"image", image},
                    {"token", token},
                    {"control", control},
                    {"uuid", uuid},
                    {"station", station},
                    {"writes", writes},
                    {"store", store.string()},
                    {"keeps_files", keeps_files},
                    {"read_only", read_only},
                    {"multicast", multicast},
                    {"connections", connections},
                    {"patience", patience ? json(*patience) : json(nullptr)}};
  const auto unfinished = folder() / ".disk.json";
  write_text_file(unfinished, record.dump(2) + "\n");
  std::filesystem::rename(unfinished, folder() / record_name);
}

std::string disk_name(const std::string& text) {
  if (text.starts_with("/dev/") || (text.starts_with("nbd") && !text.ends_with(".sock")))
    return NbdDevice(parse_nbd_index(text)).name();
  std::string name;
  for (const char c : std::filesystem::absolute(text).lexically_normal().string().substr(1))
    name += c == '/' ? "-" : c == '-' ? "%2D" : c == '%' ? "%25" : std::string(1, c);
  return name;
}

std::optional<AttachedDisk> find_disk(const std::string& text) {
  const auto folder = run_folder() / disk_name(text);
  if (!std::filesystem::exists(folder / record_name)) return std::nullopt;
  return load(folder);
}

AttachedDisk require_disk(const std::string& text) {
  if (auto disk = find_disk(text)) return *disk;
  std::string others;
  for (const auto& disk : attached_disks()) others += (others.empty() ? "" : ", ") + disk.title();
  throw Error(ENODEV, quote(text) + " is not a disk that plydisk has attached" +
                          (others.empty() ? "; none is" : "; there are: " + others));
}

std::vector<AttachedDisk> attached_disks() {
  std::vector<AttachedDisk> disks;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(run_folder(), ignored))
    if (std::filesystem::exists(entry.path() / record_name)) disks.push_back(load(entry.path()));
  std::sort(disks.begin(), disks.end(), [](const auto& a, const auto& b) {
    return std::pair(a.device.value_or(~0U), a.name) < std::pair(b.device.value_or(~0U), b.name);
  });
  return disks;
}

std::optional<SupervisorLock> SupervisorLock::take(const AttachedDisk& disk) {
  const auto path = disk.folder() / lock_name;
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) throw_errno("cannot open " + path.string());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return SupervisorLock(std::move(fd));
  if (errno != EWOULDBLOCK) throw_errno("cannot lock " + path.string());
  return std::nullopt;
}

int SupervisorLock::holder(const AttachedDisk& disk) {
  const auto path = disk.folder() / lock_name;
  if (!std::filesystem::exists(path) || take(disk)) return 0;
  const std::string text = read_text_file(path);
  return text.empty() ? 0 : std::atoi(text.c_str());
}

void SupervisorLock::note_pid() const {
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_.get(), 0) != 0 ||
      ::pwrite(fd_.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    throw_errno("cannot write down the supervisor's process");
}

}  // namespace plydisk
