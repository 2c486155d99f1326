// Model check: random requests and redirections against the engine, and the same against a flat
// array. Every byte read must be the array's, and what comes back after a session's end must be
// what the design says: the longest run of persistent layers from the bottom.
//
// Two kinds of rounds alternate. *Alone*: one thread, sessions end at any time, and the model knows
// what survives. *Together*: several threads with regions of their own, whose borders lie inside
// sectors, so that neighbours read-modify-write the same sector; another thread redirects
// meanwhile.
//
// The engine is a server's store, or with --station a station's, whose image is the export of a
// real server, which is killed now and then: what both keep must fit together.
//
//   model_check --seed N --rounds N     a failure prints the seed that repeats it
#include <fcntl.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "control/server_link.hpp"
#include "options.hpp"
#include "scratch.hpp"
#include "server_process.hpp"
#include "stack/disk.hpp"
#include "store/store.hpp"

namespace {

using namespace plydisk;
using Random = std::mt19937_64;

constexpr std::uint64_t disk_size = (5 << 20) + 3 * sector_size;
constexpr unsigned threads = 4;
constexpr std::uint64_t region_size = 10007;  // a prime: borders lie anywhere in sectors and chunks

std::uint64_t below(Random& random, std::uint64_t limit) { return random() % limit; }

constexpr const char* token = "0123456789abcdef";

// Returns the image's uuid, which is `uuid` if that is not empty.
std::string add_image_and_station(Store& store, const std::string& from,
                                  const std::string& uuid = {}) {
  Store::NewImage image;
  image.uuid = uuid;
  image.name = "img";
  image.from = from;
  image.link = true;
  const std::string its_uuid = store.create_image(image, {}).record.uuid;
  StationRecord station;
  station.name = "pc";
  station.writes = Destination::server_volatile;
  store.catalogue().add_station(station);
  return its_uuid;
}

class Checker {
 public:
  Checker(const std::filesystem::path& folder, std::uint64_t seed, bool station)
      : folder_(folder),
        is_station_(station),
        random_(seed),
        flat_(disk_size),
        survivor_(disk_size) {
    make_backing();
    std::string from = (folder / "backing").string(), uuid;
    if (is_station_) {
      Store::init(folder / "server");
      uuid = add_image_and_station(*Store::open(folder / "server"), from);
      server_ = std::make_unique<torture::ServerProcess>(folder / "server");
      std::filesystem::create_directory(folder / "memory");
      from = uri();
    }
    Store::init(folder / "store", is_station_ ? StoreRole::station : StoreRole::server);
    open_store();
    add_image_and_station(*store_, from, uuid);
    connect();
  }

  void run(unsigned rounds) {
    for (unsigned round = 0; round < rounds; ++round) {
      if (round % 2 == 0)
        alone();
      else
        together();
      verify("at the end of a round");
      if (below(random_, 3) == 0) restart();
    }
  }

 private:
  void make_backing() {
    const File file = File::open(folder_ / "backing", O_RDWR | O_CREAT);
    file.truncate(disk_size);
    for (std::uint64_t at = 0; at < disk_size; at += 300'000) {
      const std::uint64_t length = std::min<std::uint64_t>(100'000, disk_size - at);
      for (std::uint64_t i = 0; i < length; ++i)
        flat_[at + i] = static_cast<std::uint8_t>(random_());
      file.write(&flat_[at], length, at);
    }
    survivor_ = flat_;
  }

  void open_store() {
    StoreOptions options;
    options.serve = true;
    if (is_station_) {
      options.memory = folder_ / "memory";
      options.nbd.session = token;
      options.upstream = std::make_shared<ServerLink>(control_uri(uri(), "img", "pc", token));
    }
    store_ = Store::open(folder_ / "store", options);
  }

  std::string uri() const { return "nbd+unix:///img@pc?socket=" + server_->socket(); }

  // The station has a pause, and sees no more of it.
  void kill_server() {
    server_->kill();
    server_ = std::make_unique<torture::ServerProcess>(folder_ / "server");
  }

  void connect() {
    ExportName name;
    name.image = "img";
    name.station = "pc";
    connection_ = store_->connect(name, Peer{}, false);
  }

  Disk& disk() { return connection_->disk(); }

  // The server ends, cleanly, and a new one takes over: the session goes on.
  void restart() {
    if (is_station_ && below(random_, 2) == 0) kill_server();
    connection_.reset();
    store_.reset();
    open_store();
    connect();
    verify("after a restart");
  }

  void end_session() {
    store_->end_session("pc", false);
    connection_.reset();
    if (!all_survive_) flat_ = survivor_;
    survivor_ = flat_;
    all_survive_ = false;
    connect();
    verify("in the next session");
  }

  void redirect(Destination destination, RedirectOptions options) {
    if (destination == Destination::direct) options.carry = true;
    RedirectResult result;
    try {
      result = store_->redirect(id(), destination, options, {});
    } catch (const Error& error) {
      if (error.code() == ENOTSUP && is_station_ && options.carry) return;
      throw;
    }
    if (is_persistent(destination)) {
      // Without carry it survives only if nothing volatile lies below.
      if (result.survives && !all_survive_ && !options.carry && survivor_ != flat_)
        throw std::runtime_error("a redirection says that volatile data survives");
      if (options.carry && !result.survives)
        throw std::runtime_error("a carried session does not survive");
      all_survive_ = result.survives;
    } else if (all_survive_) {
      survivor_ = flat_;
      all_survive_ = false;
    }
  }

  std::string id() {
    // A session that wrote nothing yet is known too, by its station.
    return store_->session("pc").record.id;
  }

  Destination random_destination(Random& random) {
    // At a station, its own in the place of `direct`.
    constexpr std::array destinations{
        Destination::server_volatile, Destination::server_persistent, Destination::direct,
        Destination::client_volatile, Destination::client_persistent, Destination::client_ram};
    const std::uint64_t dice = below(random, is_station_ ? 5 : 3);
    return destinations[is_station_ && dice == 2 ? 5 : dice];
  }

  void alone() {
    for (unsigned i = 0; i < 300; ++i) {
      const std::uint64_t dice = below(random_, 100);
      if (dice < 3)
        redirect(random_destination(random_), {below(random_, 3) == 0, false});
      else if (dice < 4)
        end_session();
      else
        request(random_, 0, disk_size);
    }
  }

  void together() {
    std::atomic<bool> done{false};
    std::atomic<bool> failed{false};
    std::exception_ptr failure;
    const auto guarded = [&](auto&& work) {
      try {
        work();
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    };
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads; ++t) {
      workers.emplace_back([&, t, seed = random_()] {
        Random random(seed);
        guarded([&] {
          for (unsigned i = 0; i < 400 && !failed; ++i) {
            const std::uint64_t regions = disk_size / region_size / threads;
            const std::uint64_t region = below(random, regions) * threads + t;
            request(random, region * region_size, region_size);
          }
        });
      });
    }
    std::thread redirector([&, seed = random_(), session = id()] {
      Random random(seed);
      guarded([&] {
        while (!done && !failed) {
          try {
            store_->redirect(session, random_destination(random), {below(random, 4) == 0, true},
                             {});
          } catch (const Error& error) {
            // A carry that the station refuses, or a server that is away for a moment.
            if (!is_station_ || (error.code() != ENOTSUP && error.code() != ECONNREFUSED &&
                                 !is_unreachable(error.code())))
              throw;
          }
        }
      });
    });
    if (is_station_ && below(random_, 2) == 0) guarded([&] { kill_server(); });
    for (auto& worker : workers) worker.join();
    done = true;
    redirector.join();
    if (failed) std::rethrow_exception(failure);
    verify("after threads");
    // What the redirections left is not known; after this all of it survives.
    if (!keep_all()) begin_anew();
    all_survive_ = true;
  }

  // False for a station with layers that survive at both ends, which can't be brought together.
  bool keep_all() {
    for (const auto destination :
         {Destination::server_persistent, Destination::client_persistent}) {
      try {
        const auto result = store_->redirect(id(), destination, {true, true}, {});
        if (!result.survives) throw std::runtime_error("a carried session does not survive");
        return true;
      } catch (const Error& error) {
        if (error.code() != ENOTSUP || !is_station_) throw;
      }
    }
    return false;
  }

  // Writes down what there is on a session without layers.
  void begin_anew() {
    store_->end_session("pc", true);
    connection_.reset();
    // It fails if nothing was kept there.
    torture::run_plydisk(folder_ / "server", {"session", "end", "pc", "--discard"});
    connect();
    disk().write(flat_.data(), flat_.size(), 0, true);
    if (!keep_all()) throw std::runtime_error("a session without layers can't be kept");
  }

  // One request somewhere inside the range, by the only thread that uses it.
  void request(Random& random, std::uint64_t from, std::uint64_t length) {
    static constexpr std::array<std::uint64_t, 4> limits{40, 5000, 70'000, 300'000};
    const std::uint64_t most = std::min(length, limits[below(random, limits.size())]);
    std::uint64_t count = 1 + below(random, most);
    std::uint64_t at = from + below(random, length - count + 1);
    if (below(random, 2) == 0) {  // whole sectors, where there is room
      const std::uint64_t first = (at + sector_size - 1) / sector_size * sector_size;
      const std::uint64_t last = (at + count) / sector_size * sector_size;
      if (first < last) {
        at = first;
        count = last - first;
      }
    }
    std::vector<std::uint8_t> bytes(count);
    const std::uint64_t dice = below(random, 100);
    if (dice < 45) {
      for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
      disk().write(bytes.data(), count, at, dice < 5);
      std::memcpy(&flat_[at], bytes.data(), count);
    } else if (dice < 60) {
      const bool punch = dice % 2 == 0;
      disk().zero(at, count, punch, dice == 59);
      std::memset(&flat_[at], 0, count);
    } else if (dice < 65) {
      disk().trim(at, count, false);
      const std::uint64_t first = (at + sector_size - 1) / sector_size * sector_size;
      const std::uint64_t last = (at + count) / sector_size * sector_size;
      if (first < last) std::memset(&flat_[first], 0, last - first);
    } else if (dice < 70) {
      disk().flush();
    } else if (dice < 75) {
      check_extents(at, count);
    } else {
      disk().read(bytes.data(), count, at);
      compare(bytes.data(), at, count, "while running");
    }
  }

  // Extents cover the range without gaps, and what they call zero is zero.
  void check_extents(std::uint64_t at, std::uint64_t count) {
    std::uint64_t next = at;
    disk().for_each_extent(at, count, [&](std::uint64_t from, std::uint64_t length, bool is_zero) {
      if (from != next || length == 0) throw std::runtime_error("extents have a gap");
      next = from + length;
      for (std::uint64_t i = from; is_zero && i < next; ++i)
        if (flat_[i] != 0) throw std::runtime_error("an extent of zeros has data");
    });
    if (next != at + count) throw std::runtime_error("extents end too early or too late");
  }

  void compare(const std::uint8_t* bytes, std::uint64_t at, std::uint64_t count, const char* when) {
    if (std::memcmp(bytes, &flat_[at], count) == 0) return;
    std::uint64_t i = 0;
    while (bytes[i] == flat_[at + i]) ++i;
    throw std::runtime_error("wrong byte " + std::to_string(at + i) + " (sector " +
                             std::to_string((at + i) / sector_size) + ") " + when + ": " +
                             std::to_string(bytes[i]) + " instead of " +
                             std::to_string(flat_[at + i]));
  }

  void verify(const char* when) {
    std::vector<std::uint8_t> all(disk_size);
    disk().read(all.data(), disk_size, 0);
    compare(all.data(), 0, disk_size, when);
    for (const auto& layer : store_->layers())
      for (const auto& fault : store_->check_layer(layer.record.uuid))
        throw std::runtime_error("layer " + layer.record.uuid + ": " + fault);
  }

  const std::filesystem::path folder_;
  const bool is_station_;
  Random random_;
  std::unique_ptr<torture::ServerProcess> server_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Store::Connection> connection_;
  std::vector<std::uint8_t> flat_;      // what the disk must read as
  std::vector<std::uint8_t> survivor_;  // what the next session must find, unless all survives
  bool all_survive_ = false;            // a session starts with server-volatile
};

}  // namespace

int main(int argc, char** argv) {
  plydisk::torture::Options options;
  if (!plydisk::torture::parse_options(options, argc, argv)) return 2;
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(options.minutes);
  std::uint64_t seed = options.seed;
  do {
    const plydisk::torture::Scratch scratch(options.keep);
    try {
      Checker(scratch.path(), seed, options.station).run(options.rounds);
    } catch (const std::exception& error) {
      std::printf("seed %llu: %s\nrepeat with: model_check --seed %llu --rounds %u\n",
                  static_cast<unsigned long long>(seed), error.what(),
                  static_cast<unsigned long long>(seed), options.rounds);
      return 1;
    }
    std::printf("seed %llu: %u rounds agree with the model\n",
                static_cast<unsigned long long>(seed), options.rounds);
    ++seed;
  } while (std::chrono::steady_clock::now() < end);
  return 0;
}
