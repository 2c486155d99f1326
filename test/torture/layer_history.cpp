#include "layer_history.hpp"

#include <fcntl.h>

#include <array>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <thread>

#include "base/file.hpp"
#include "sector_pattern.hpp"

namespace plydisk::torture {

namespace {

// Not a whole number of chunks: the last one is partial.
constexpr std::uint64_t disk_sectors = 4 * 2048 + 7;
constexpr unsigned sessions = 4;

Place place_of(Destination destination) {
  return destination == Destination::direct            ? Place::image
         : destination == Destination::server_volatile ? Place::volatile_layer
                                                       : Place::persistent_layer;
}

constexpr std::array destinations{Destination::direct, Destination::server_volatile,
                                  Destination::server_persistent};

// Deals the disk out in stripes that are no chunks, so that the parts meet inside chunks.
std::vector<std::vector<SectorRange>> deal(std::uint64_t sectors, unsigned parts) {
  std::vector<std::vector<SectorRange>> dealt(parts);
  if (parts == 1) {
    dealt[0].push_back({0, sectors});
    return dealt;
  }
  constexpr std::uint64_t stripe = 700;
  for (std::uint64_t first = 0; first < sectors; first += stripe)
    dealt[first / stripe % parts].push_back({first, std::min(stripe, sectors - first)});
  return dealt;
}

}  // namespace

LayerHistory::LayerHistory(Recorder& recorder, const std::filesystem::path& scratch,
                           std::uint64_t seed)
    : recorder_(recorder), random_(seed), threads_(seed % 3 == 0 ? 4 : 1) {
  make_store(scratch);
  const auto parts = deal(disk_sectors, threads_);
  for (unsigned i = 0; i < threads_; ++i)
    workers_.push_back(std::make_unique<DiskWorker>(*shared_, parts[i], random_()));
}

LayerHistory::~LayerHistory() = default;

void LayerHistory::make_store(const std::filesystem::path& scratch) {
  std::vector<std::byte> content(disk_sectors * pattern_size);
  std::vector<std::uint64_t> hashes(disk_sectors);
  for (std::uint64_t sector = 0; sector < disk_sectors; ++sector) {
    if (sector / 50 % 3 != 0) continue;
    fill_sector(&content[sector * pattern_size], sector, 1);
    hashes[sector] = hash_sector(&content[sector * pattern_size]);
  }
  const auto source = scratch / "source";
  const File file = File::open(source, O_RDWR | O_CREAT | O_TRUNC);
  file.write(content.data(), content.size(), 0);
  model_ = std::make_unique<SectorModel>(std::move(hashes));
  shared_.reset(new DiskUnderTest{recorder_, *model_, std::move(content)});

  Store::init(recorder_.root());
  open_store();
  Store::NewImage image;
  image.name = image_name;
  image.from = source.string();
  store_->create_image(image, nullptr);
  StationRecord station;
  station.name = station_name;
  station.image = image_name;
  store_->catalogue().add_station(station);
  ready_ = recorder_.mark();
}

void LayerHistory::open_store() {
  StoreOptions options;
  options.boot_id = "boot " + std::to_string(boots_);
  options.serve = below(2) == 0;
  store_ = Store::open(recorder_.root(), options);
}

void LayerHistory::run() {
  for (unsigned i = 0; i < sessions; ++i) run_session();
  connection_.reset();
  store_.reset();
}

void LayerHistory::run_session() {
  writes_ = destinations[below(destinations.size())];
  // Direct writes are refused to a session that would begin on persistent layers.
  const auto rest = store_->catalogue().session_of(station_name, image_name);
  if (writes_ == Destination::direct && rest) writes_ = Destination::server_persistent;
  store_->catalogue().change_station(station_name,
                                     [&](StationRecord& station) { station.writes = writes_; });
  model_->begin_epoch({place_of(writes_), true, false, !wrote_}, recorder_.position());
  connect();
  model_->epoch_begun(recorder_.mark());
  wrote_ = false;
  check_present(true);
  for (std::uint64_t stays = 1 + below(4); stays > 0; --stays) {
    const auto steps = static_cast<unsigned>(below(40));
    if (threads_ > 1)
      work_in_threads(20 + steps);
    else
      work(steps);
    redirect();
    if (below(8) == 0) {
      // The server is stopped and started; the session goes on, volatile layers and all.
      connection_.reset();
      store_.reset();
      open_store();
      connect();
      check_present(false);
    }
  }
  work(static_cast<unsigned>(below(30)));
  leave_session();
}

void LayerHistory::connect() {
  ExportName name;
  name.image = image_name;
  name.station = station_name;
  connection_ = store_->connect(name, Peer{true, "unix"}, false);
}

// Compares the whole disk with what a session that comes back must see, and goes on from there.
void LayerHistory::check_present(bool rebooted) {
  std::vector<std::byte> found(disk_sectors * pattern_size);
  connection_->disk().read(found.data(), found.size(), 0);
  const auto survival = model_->present(rebooted);
  for (std::uint64_t sector = 0; sector < disk_sectors; ++sector) {
    const std::byte* const value = &found[sector * pattern_size];
    if (!model_->allows(survival, sector, hash_sector(value)))
      throw std::runtime_error("without any power cut, sector " + std::to_string(sector) +
                               " of a session that came back is " + describe_sector(value) + "\n" +
                               model_->expected(survival, sector));
  }
  shared_->content = std::move(found);
}

void LayerHistory::work(unsigned steps) {
  for (unsigned i = 0; i < steps; ++i) {
    workers_[0]->step(connection_->disk());
    wrote_ = true;
    if (below(20) == 0) snapshot_maps();
  }
}

// The other workers go on while this thread redirects.
void LayerHistory::work_in_threads(unsigned steps) {
  std::vector<std::exception_ptr> errors(threads_);
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads_; ++i)
    others.emplace_back([this, i, steps, &error = errors[i]] {
      try {
        for (unsigned step = 0; step < steps; ++step) workers_[i]->step(connection_->disk());
      } catch (...) {
        error = std::current_exception();
      }
    });
  try {
    for (unsigned i = 0; i < 2; ++i) {
      work(5);
      redirect();
      work(5);
      snapshot_maps();
    }
  } catch (...) {
    errors[0] = std::current_exception();
  }
  for (auto& thread : others) thread.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

void LayerHistory::redirect() {
  const Destination from = writes_;
  while (writes_ == from) writes_ = destinations[below(destinations.size())];
  make_sure_of_layer();
  RedirectOptions options;
  options.carry = is_persistent(writes_) && below(3) == 0;
  options.force = true;
  model_->begin_epoch({place_of(writes_), false, options.carry, !wrote_}, recorder_.position());
  const auto result = store_->redirect(station_name, writes_, options, nullptr);
  model_->epoch_begun(recorder_.mark());
  wrote_ = false;
  if (writes_ != Destination::direct && result.survives != model_->survives_now())
    throw std::runtime_error(std::string("a redirection from ") + to_string(from) + " to " +
                             to_string(writes_) + " says that writes " +
                             (result.survives ? "survive" : "don't survive") +
                             ", which is not so: " + model_->present(true).description);
}

// A layer that holds nothing is dropped, and whether a request of zeros leaves anything depends on
// what was there. So a layer that is left either surely holds something or surely nothing.
void LayerHistory::make_sure_of_layer() {
  if (wrote_) workers_[0]->write_one(connection_->disk());
}

void LayerHistory::leave_session() {
  make_sure_of_layer();
  const std::uint64_t began = recorder_.position();
  connection_.reset();
  if (below(2) == 0) {
    store_->end_session(station_name, false);
  } else {
    store_.reset();
    recorder_.sync_everything();
    ++boots_;
    open_store();
  }
  model_->end_session(began, recorder_.mark());
}

// The kernel may have written any of the pages of the chunk maps by now.
void LayerHistory::snapshot_maps() {
  std::error_code ignored;
  for (const auto& layer :
       std::filesystem::directory_iterator(recorder_.root() / "layers", ignored)) {
    const auto map = layer.path() / "map";
    if (std::filesystem::exists(map, ignored)) recorder_.snapshot(map);
  }
}

}  // namespace plydisk::torture
