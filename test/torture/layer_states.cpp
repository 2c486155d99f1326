#include "layer_states.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include "base/error.hpp"
#include "change_sectors.hpp"
#include "layer_history.hpp"
#include "sector_pattern.hpp"
#include "stack/disk.hpp"
#include "store/store.hpp"

namespace plydisk::torture {

namespace {

using Faults = std::vector<std::string>;

std::unique_ptr<Store> open_after_boot(const std::filesystem::path& folder, const char* boot) {
  StoreOptions options;
  options.boot_id = boot;
  return Store::open(folder, options);
}

std::unique_ptr<Store::Connection> connect(Store& store) {
  ExportName name;
  name.image = image_name;
  name.station = station_name;
  return store.connect(name, Peer{true, "unix"}, false);
}

std::vector<std::byte> read_all(Disk& disk) {
  std::vector<std::byte> content(disk.size());
  disk.read(content.data(), content.size(), 0);
  return content;
}

// The faults under that one of the possible survivals of layers that fits best.
Faults compare(const SectorModel& model, std::uint64_t cut, const std::vector<std::byte>& content) {
  constexpr std::size_t most_shown = 3;
  std::vector<std::uint64_t> hashes(model.sectors());
  for (std::size_t sector = 0; sector < hashes.size(); ++sector)
    hashes[sector] = hash_sector(&content[sector * pattern_size]);
  std::vector<std::size_t> best_wrong;
  std::string text;
  for (const auto& survival : model.survivals(cut)) {
    std::vector<std::size_t> wrong;
    for (std::size_t sector = 0; sector < hashes.size(); ++sector)
      if (!model.allows(survival, sector, hashes[sector])) wrong.push_back(sector);
    if (wrong.empty()) return {};
    if (!best_wrong.empty() && wrong.size() >= best_wrong.size()) continue;
    best_wrong = wrong;
    text = std::to_string(wrong.size()) + " sectors are wrong, for instance\n";
    for (std::size_t i = 0; i < std::min(wrong.size(), most_shown); ++i)
      text += " sector " + std::to_string(wrong[i]) + ": found " +
              describe_sector(&content[wrong[i] * pattern_size]) + "\n" +
              model.expected(survival, wrong[i]);
  }
  return {text};
}

void check_layers(Store& store, Faults& faults) {
  std::set<std::string> known;
  for (const LayerStatus& layer : store.layers()) {
    known.insert(layer.record.uuid);
    for (const std::string& fault : store.check_layer(layer.record.uuid))
      faults.push_back("layer " + layer.record.uuid + ": " + fault);
  }
  for (const auto& entry : std::filesystem::directory_iterator(store.directory() / "layers"))
    if (!known.contains(entry.path().filename().string()))
      faults.push_back("the folder " + entry.path().filename().string() +
                       " belongs to no layer and was left there");
}

// Writes, flushes and zeros on, and returns what must be there afterwards.
std::vector<std::byte> use(Disk& disk, std::vector<std::byte> content, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i < 20; ++i) {
    change_sectors(disk, content, random, 30, 1'000'000'000 + i);
    if (random() % 5 == 0) disk.flush();
  }
  return content;
}

std::string first_difference(const std::vector<std::byte>& found,
                             const std::vector<std::byte>& expected) {
  const auto at = std::ranges::mismatch(found, expected).in1 - found.begin();
  const auto sector = static_cast<std::uint64_t>(at) / pattern_size;
  return "sector " + std::to_string(sector) + ", " +
         describe_sector(&found[sector * pattern_size]) + " instead of " +
         describe_sector(&expected[sector * pattern_size]);
}

}  // namespace

std::vector<std::string> check_state(const std::filesystem::path& folder, const SectorModel& model,
                                     std::uint64_t cut, bool go_on, std::uint64_t seed) {
  Faults faults;
  try {
    auto store = open_after_boot(folder, "after the cut");
    // Not directly to the image: that is refused while persistent layers lie on it.
    store->catalogue().change_station(station_name, [&](StationRecord& station) {
      station.writes = go_on ? Destination::server_persistent : Destination::server_volatile;
    });
    auto connection = connect(*store);
    std::vector<std::byte> content = read_all(connection->disk());
    faults = compare(model, cut, content);
    check_layers(*store, faults);
    if (!go_on || !faults.empty()) return faults;

    content = use(connection->disk(), std::move(content), seed);
    if (const auto now = read_all(connection->disk()); now != content)
      faults.push_back("after further use: " + first_difference(now, content));
    connection.reset();
    store.reset();
    store = open_after_boot(folder, "one boot later");
    connection = connect(*store);
    if (const auto now = read_all(connection->disk()); now != content)
      faults.push_back("after further use and a reboot: " + first_difference(now, content));
    check_layers(*store, faults);
  } catch (const std::exception& error) {
    faults.push_back(error.what());
  }
  return faults;
}

}  // namespace plydisk::torture
