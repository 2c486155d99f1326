// kill -9 of a server under load, again and again. Three stations write at depth 16 over Unix
// sockets: one volatile, one persistent, and one on an image of its own that is redirected through
// all destinations meanwhile, as are the other two between theirs. After each restart every
// acknowledged write must be there, flushed or not, in volatile layers too; what was under way is
// old or new in each sector.
//
//   --rounds N    how often the server is killed, 20 by default
//   --minutes N   go on for so long
//   --seed N
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "nbd_load.hpp"
#include "options.hpp"
#include "scratch.hpp"
#include "sector_pattern.hpp"
#include "server_process.hpp"

namespace plydisk::torture {
namespace {

constexpr std::uint64_t disk_sectors = 16 * 2048 + 3;

class Killer {
 public:
  Killer(const Options& options, const std::filesystem::path& scratch);
  void run();

 private:
  struct Station {
    std::string name, image;
    std::vector<std::string> destinations;
    std::unique_ptr<NbdLoad> load;
  };
  void make_store(const std::filesystem::path& scratch);
  void round();
  void redirect_until(std::uint64_t seed);
  void check_everything();
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  const Options& options_;
  const std::filesystem::path store_;
  std::mt19937_64 random_;
  std::vector<Station> stations_;
  std::atomic<bool> stop_{false}, killed_{false};
  unsigned redirections_ = 0;
};

Killer::Killer(const Options& options, const std::filesystem::path& scratch)
    : options_(options), store_(scratch / "store"), random_(options.seed) {
  make_store(scratch);
}

void Killer::make_store(const std::filesystem::path& scratch) {
  std::vector<std::byte> content(disk_sectors * pattern_size);
  for (std::uint64_t sector = 0; sector < disk_sectors; ++sector)
    if (sector / 70 % 3 == 0) fill_sector(&content[sector * pattern_size], sector, 1);
  const auto source = scratch / "source";
  std::ofstream(source, std::ios::binary)
      .write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  require_plydisk(store_, {"init"});
  // The stations come back when they like.
  require_plydisk(store_, {"param", "set", "session-grace", "86400"});
  for (const char* image : {"shared", "own"})
    require_plydisk(store_, {"image", "create", image, "--from", source.string()});
  const std::vector<std::string> layers{"server-volatile", "server-persistent"};
  const std::vector<std::string> all{"direct", "server-volatile", "server-persistent"};
  stations_.push_back({"volatile", "shared", layers, nullptr});
  stations_.push_back({"persistent", "shared", layers, nullptr});
  stations_.push_back({"every", "own", all, nullptr});
  for (Station& station : stations_) {
    const std::string writes = station.name == "volatile" ? "server-volatile" : "server-persistent";
    require_plydisk(store_,
                    {"station", "add", station.name, "--image", station.image, "--writes", writes});
    station.load =
        std::make_unique<NbdLoad>(station.image + "@" + station.name, content, random_());
  }
}

// Redirects one station after the other. An error counts unless the server is gone.
void Killer::redirect_until(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!stop_.load() && !killed_.load()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    const Station& station = stations_[random() % stations_.size()];
    const std::string& to = station.destinations[random() % station.destinations.size()];
    std::vector<std::string> words{"redirect", station.image + "@" + station.name, to};
    if (to != "server-volatile" && random() % 2 == 0)
      words.push_back("--carry");
    else if (to == "direct")
      words.push_back("--force");
    const CommandResult result = run_plydisk(store_, words);
    if (result.succeeded)
      ++redirections_;
    else if (!killed_.load())
      throw std::runtime_error("a redirection of " + station.name + " to " + to +
                               " fails: " + result.output);
  }
}

void Killer::round() {
  ServerProcess server(store_);
  for (Station& station : stations_) station.load->connect_and_check(server.socket());

  stop_ = killed_ = false;
  std::vector<std::exception_ptr> errors(stations_.size() + 1);
  std::vector<std::thread> threads;
  const auto in_thread = [&](std::size_t slot, auto work) {
    threads.emplace_back([this, work, &error = errors[slot]] {
      try {
        work();
      } catch (...) {
        error = std::current_exception();
        stop_ = true;
      }
    });
  };
  for (std::size_t i = 0; i < stations_.size(); ++i)
    in_thread(i, [this, i] { stations_[i].load->run(stop_, killed_); });
  in_thread(stations_.size(), [this, seed = random_()] { redirect_until(seed); });

  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::milliseconds(20 + below(below(5) == 0 ? 1500 : 400));
  while (!stop_.load() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::exception_ptr killing;
  killed_ = true;
  try {
    server.kill();
  } catch (...) {
    killing = std::current_exception();
  }
  for (auto& thread : threads) thread.join();
  if (killing) std::rethrow_exception(killing);
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

// After all kills: the contents once more over a clean stop, and every layer's own check.
void Killer::check_everything() {
  for (unsigned times = 0; times < 2; ++times) {
    ServerProcess server(store_);
    for (Station& station : stations_) {
      station.load->connect_and_check(server.socket());
      station.load->disconnect();
    }
    server.stop();
  }
  const auto layers = nlohmann::json::parse(require_plydisk(store_, {"layer", "list", "--json"}));
  for (const auto& layer : layers)
    require_plydisk(store_, {"layer", "check", layer.at("id").get<std::string>()});
  std::printf("%zu layers are sound\n", layers.size());
}

void Killer::run() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(options_.minutes);
  unsigned rounds = 0;
  for (; rounds < options_.rounds || std::chrono::steady_clock::now() < until; ++rounds) {
    try {
      round();
    } catch (const std::exception& error) {
      throw std::runtime_error("round " + std::to_string(rounds) + ", seed " +
                               std::to_string(options_.seed) + ": " + error.what());
    }
  }
  check_everything();
  std::uint64_t acknowledged = 0;
  for (const Station& station : stations_) acknowledged += station.load->acknowledged();
  std::printf("killed %u times: %lu acknowledged requests, %u redirections, nothing lost\n", rounds,
              acknowledged, redirections_);
}

}  // namespace
}  // namespace plydisk::torture

int main(int argc, char** argv) {
  using namespace plydisk::torture;
  Options options;
  if (!parse_options(options, argc, argv)) return 2;
  try {
    const Scratch scratch(options.keep);
    if (options.keep) std::printf("%s\n", scratch.path().c_str());
    Killer(options, scratch.path()).run();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\nto see it again: kill9 --seed %lu --rounds %u\n",
                 error.what(), options.seed, options.rounds);
    return EXIT_FAILURE;
  }
}
