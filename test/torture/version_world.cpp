#include "version_world.hpp"

#include <fcntl.h>

#include <random>
#include <stdexcept>
#include <utility>

#include "base/file.hpp"
#include "change_sectors.hpp"
#include "sector_pattern.hpp"
#include "stack/disk.hpp"

namespace plydisk::torture {

VersionWorld::VersionWorld(std::filesystem::path folder, std::string boot, bool flushes)
    : folder_(std::move(folder)), boot_(std::move(boot)), flushes_(flushes) {}

void VersionWorld::make() {
  Store::init(folder_);
  open();
}

void VersionWorld::open() {
  StoreOptions options;
  options.boot_id = boot_;
  store_ = Store::open(folder_, options);
}

void VersionWorld::close() {
  connections_.clear();
  store_.reset();
}

Content VersionWorld::pattern(std::uint64_t generation) {
  Content content(disk_sectors * pattern_size);
  for (std::uint64_t sector = 0; sector < disk_sectors; ++sector)
    if (sector / 300 % 3 == 0) fill_sector(&content[sector * pattern_size], sector, generation);
  return content;
}

void VersionWorld::make_image() {
  const auto source = folder_.parent_path() / "source";
  model_.versions[key(1)] = pattern(1);
  put_file(source, model_.versions[key(1)]);
  Store::NewImage made;
  made.name = image;
  made.from = source.string();
  store_->create_image(made, {});
}

void VersionWorld::add_station(const std::string& name, Destination writes) {
  StationRecord station;
  station.name = name;
  station.image = image;
  station.writes = writes;
  store_->catalogue().add_station(station);
}

void VersionWorld::connect(const std::string& station, unsigned version) {
  ExportName name;
  name.image = image;
  name.station = station;
  connections_[station] = store_->connect(name, Peer{true, "unix"}, false);
  const SessionStatus status = store_->session(station);
  if (status.record.version != version)
    throw std::runtime_error("station " + station + " got version " +
                             std::to_string(status.record.version));
  model_.sessions.try_emplace(key(station),
                              VersionModel::Session{model_.versions.at(key(version)), false});
}

void VersionWorld::write(const std::string& station, std::uint64_t generation) {
  Disk& disk = connections_.at(station)->disk();
  auto& [content, is_persistent] = model_.sessions.at(key(station));
  std::mt19937_64 random(generation);
  for (unsigned i = 0; i < 10; ++i)
    change_sectors(disk, content, random, i % 3 == 0 ? 300 : 20, generation);
  if (flushes_) disk.flush();
  is_persistent = store_->session(station).persistent;
}

void VersionWorld::begin_layer(const std::string& station) { store_->view_session(station); }

void VersionWorld::end(const std::string& station, bool discard) {
  connections_.erase(station);
  store_->end_session(station, discard);
  if (discard || !model_.sessions.at(key(station)).persistent) model_.sessions.erase(key(station));
}

void VersionWorld::add_version(unsigned base, unsigned number, std::uint64_t generation) {
  const std::string station = "maker";
  if (!store_->catalogue().find_station(station))
    add_station(station, Destination::server_volatile);
  open_version(base, number, station);
  connect(station, number);
  write(station, generation);
  end(station);
  close_version(number, station);
}

void VersionWorld::open_version(unsigned base, unsigned number, const std::string& station) {
  const VersionRecord opened = store_->open_version(image, station, base, "");
  if (opened.number != number) throw std::runtime_error("an opened version has another number");
  model_.versions[key(number)] = model_.versions.at(key(base));
}

void VersionWorld::close_version(unsigned number, const std::string& station) {
  store_->close_version(image, number, {});
  model_.versions[key(number)] = model_.sessions.at(key(station)).content;
  model_.sessions.erase(key(station));
}

void VersionWorld::merge(unsigned first, unsigned last, const std::vector<unsigned>& gone) {
  store_->merge_versions(image, first, last, {});
  for (const unsigned number : gone) model_.versions.erase(key(number));
}

void put_file(const std::filesystem::path& path, const Content& content) {
  const auto folder = path.parent_path();
  if (!std::filesystem::exists(folder)) create_directory_durably(folder);
  const File file = File::open(path, O_RDWR | O_CREAT | O_TRUNC);
  file.write(content.data(), content.size(), 0);
  file.sync();
  sync_directory(folder);
}

}  // namespace plydisk::torture
