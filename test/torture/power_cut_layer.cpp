// Power cuts of a real store: records everything that a station's sessions do to durable storage
// (layer_history.hpp), rebuilds disk states that a power cut could have left at any moment
// (power_cut.hpp), opens each as after a reboot, and compares every sector with what it may hold
// (sector_model.hpp).
//
//   --states N    disk states to check, 1,000 by default
//   --minutes N   go on with new seeds for so long
//   --seed N      where to begin
//   --broken PART takes syncs out, and passes only if that is found: data-sync, those of the
//                 layers' data files; index-sync, SQLite's; image-sync, those of images
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "compare_with_log.hpp"
#include "layer_history.hpp"
#include "layer_states.hpp"
#include "options.hpp"
#include "power_cut.hpp"
#include "recorder.hpp"
#include "recording_vfs.hpp"
#include "scratch.hpp"

namespace plydisk::torture {
namespace {

// One history is good for so many; then another one is more likely to find something.
constexpr unsigned states_per_history = 100;
constexpr unsigned most_reports = 5;

using Predicate = bool (*)(const std::string& path);

// Whether a fault is one that the missing syncs of this part explain. SQLite's may damage anything.
bool is_of_broken_part(const std::string& broken, const std::string& fault) {
  return broken == "index-sync" || fault.find("sectors are wrong") != std::string::npos;
}

std::optional<Predicate> skipped_syncs(const std::string& broken) {
  if (broken.empty()) return [](const std::string&) { return false; };
  if (broken == "data-sync") return [](const std::string& path) { return path.ends_with("/data"); };
  if (broken == "index-sync")
    return [](const std::string& path) { return path.find(".sqlite") != std::string::npos; };
  if (broken == "image-sync")
    return [](const std::string& path) { return path.ends_with("/disk"); };
  return std::nullopt;
}

// Half of the cuts fall anywhere, half near syncs, where most depends on the order of things.
std::vector<std::uint64_t> choose_cuts(const std::vector<Operation>& log, std::uint64_t from,
                                       unsigned count, std::mt19937_64& random) {
  std::vector<std::uint64_t> syncs;
  for (std::uint64_t i = from; i < log.size(); ++i)
    if (log[i].kind == Operation::Kind::sync || log[i].kind == Operation::Kind::sync_directory)
      syncs.push_back(i);
  std::vector<std::uint64_t> cuts;
  while (cuts.size() < count) {
    std::uint64_t cut = from + random() % (log.size() + 1 - from);
    if (!syncs.empty() && random() % 2 == 0) cut = syncs[random() % syncs.size()] + random() % 4;
    cuts.push_back(std::clamp<std::uint64_t>(cut, from, log.size()));
  }
  std::ranges::sort(cuts);
  return cuts;
}

struct Totals {
  unsigned histories = 0, states = 0, faulty = 0;
  std::uint64_t operations = 0;
};

void run_history(std::uint64_t seed, unsigned states, const Options& options, Totals& totals) {
  const Scratch scratch(options.keep);
  if (options.keep) std::printf("seed %lu: %s\n", seed, scratch.path().c_str());
  Recorder recorder(scratch.path() / "store");
  recorder.skip_syncs(*skipped_syncs(options.broken));
  recorder.slow_down(300);
  const auto report = [&](const std::string& where, const std::string& fault) {
    if (!options.broken.empty()) {
      totals.faulty += is_of_broken_part(options.broken, fault);
      return;
    }
    if (++totals.faulty > most_reports) return;
    std::fprintf(
        stderr,
        "FAULT, seed %lu, %s:\n%s\nto see it again: power_cut_layer --seed %lu --states %u\n\n",
        seed, where.c_str(), fault.c_str(), seed, states);
  };

  storage_observer = &recorder;
  std::optional<LayerHistory> history;
  try {
    history.emplace(recorder, scratch.path(), seed);
    history->run();
  } catch (const std::exception& error) {
    report("while working", error.what());
    history.reset();
  }
  storage_observer = nullptr;
  ++totals.histories;
  totals.operations += recorder.operations().size();
  if (!history) return;
  for (const std::string& fault : compare_with_log(recorder, scratch.path()))
    report("without a cut", fault);

  std::mt19937_64 random(seed);
  PowerCut power_cut(recorder.operations());
  for (const std::uint64_t cut :
       choose_cuts(recorder.operations(), history->ready() + 1, states, random)) {
    const CutChoice choice = CutChoice::random(random());
    const auto folder = scratch.path() / "state";
    power_cut.advance(cut);
    power_cut.rebuild(choice, folder);
    const auto faults = check_state(folder, history->model(), cut, random() % 4 == 0, choice.seed);
    ++totals.states;
    if (faults.empty()) continue;
    std::string text;
    for (const std::string& fault : faults) text += "- " + fault + "\n";
    report("cut " + std::to_string(cut) + " of " + std::to_string(recorder.operations().size()) +
               ", " + to_string(choice),
           text);
    if (options.keep) std::filesystem::rename(folder, folder.string() + std::to_string(cut));
  }
}

int run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto until = start + std::chrono::minutes(options.minutes);
  Totals totals;
  for (std::uint64_t seed = options.seed; totals.states < options.states || Clock::now() < until;
       ++seed) {
    const unsigned left =
        totals.states < options.states ? options.states - totals.states : states_per_history;
    run_history(seed, std::min(states_per_history, left), options, totals);
    // A history that failed gave no states; with none at all there is no end.
    if (totals.faulty > 0 && (!options.broken.empty() || totals.faulty >= most_reports)) break;
  }
  const std::chrono::duration<double> took = Clock::now() - start;
  std::printf("%u states of %u histories with %lu operations in %.1f s: %u with faults\n",
              totals.states, totals.histories, totals.operations, took.count(), totals.faulty);
  return has_passed(options, totals.faulty) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace plydisk::torture

int main(int argc, char** argv) {
  using namespace plydisk::torture;
  Options options;
  if (!parse_options(options, argc, argv) || !skipped_syncs(options.broken)) return 2;
  register_recording_vfs();
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
