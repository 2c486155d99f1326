// Crashes in the verbs of images and versions: each verb is done in a small store
// (version_scenarios.hpp) while everything that it does to durable storage is recorded. Then the
// power is cut before each of its operations, in several ways (power_cut.hpp), and processes that
// do the same are killed before every third (verb_killer.hpp). What is left is opened, and must be
// the state before the verb or the state after it (version_states.hpp); once the verb has returned,
// the state after it.
//
//   --rounds N    disk states that are drawn at random for each power cut, besides those with
//                 nothing and with everything since the last syncs; 1 by default
//   --minutes N   go on with new seeds for so long
//   --seed N      where to begin
//   --only NAME   this scenario alone
//   --broken PART takes syncs out, and passes only if that is found: data-sync, those of the
//                 layers' data files; index-sync, SQLite's; image-sync, those of images; name-sync,
//                 those of folders
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "compare_with_log.hpp"
#include "options.hpp"
#include "power_cut.hpp"
#include "recorder.hpp"
#include "recording_vfs.hpp"
#include "scratch.hpp"
#include "verb_killer.hpp"
#include "version_states.hpp"

namespace plydisk::torture {
namespace {

constexpr unsigned most_reports = 5;
constexpr unsigned kill_period = 3;  // of so many changes one is the last
constexpr const char* first_boot = "first boot";
constexpr const char* next_boot = "next boot";

class VerbCrashes {
 public:
  explicit VerbCrashes(const Options& options) : options_(options), random_(options.seed) {}

  void run(const VersionScenario& scenario) {
    const Scratch scratch(options_.keep);
    if (options_.keep) std::printf("%s: %s\n", scenario.name.c_str(), scratch.path().c_str());
    const unsigned before = cut_states_ + kill_states_;
    try {
      cut_power(scenario, scratch.path());
      if (options_.broken.empty() && scenario.is_atomic) kill(scenario, scratch.path());
    } catch (const std::exception& error) {
      report(scenario, "while working", error.what());
    }
    std::printf("%-22s %u states\n", scenario.name.c_str(), cut_states_ + kill_states_ - before);
    std::fflush(stdout);
  }

  unsigned faulty() const { return faulty_; }
  bool has_seen_enough() const { return faulty_ >= (options_.broken.empty() ? most_reports : 1); }
  void print_totals(double seconds) const {
    std::printf("%u states after power cuts, %u after kills, in %.1f s: %u with faults\n",
                cut_states_, kill_states_, seconds, faulty_);
  }

 private:
  void cut_power(const VersionScenario& scenario, const std::filesystem::path& scratch);
  void kill(const VersionScenario& scenario, const std::filesystem::path& scratch);
  std::vector<CutChoice> choices(bool after_sync);
  bool is_thorough() { return random_() % 4 == 0; }
  void check(const VersionScenario& scenario, const std::string& where,
             const std::filesystem::path& folder, const VersionCheck& check);
  void report(const VersionScenario& scenario, const std::string& where, const std::string& fault) {
    if (++faulty_ > most_reports || !options_.broken.empty()) return;
    std::fprintf(stderr, "FAULT in %s, %s:\n%s\nto see it again: --seed %lu --only %s\n\n",
                 scenario.name.c_str(), where.c_str(), fault.c_str(), options_.seed,
                 scenario.name.c_str());
  }

  const Options& options_;
  std::mt19937_64 random_;
  unsigned cut_states_ = 0, kill_states_ = 0, faulty_ = 0;
};

bool is_skipped(const std::string& broken, const std::string& path) {
  if (broken == "data-sync") return path.ends_with("/data");
  if (broken == "image-sync") return path.ends_with("/disk");
  if (broken == "name-sync") return std::filesystem::is_directory(path);
  return broken == "index-sync" && path.find(".sqlite") != std::string::npos;
}

// The picture of a store that nobody has open, after a clean end.
std::string picture_at(const std::filesystem::path& folder, const std::string& boot) {
  VersionWorld world(folder, boot);
  world.open();
  return picture_of(world.store());
}

// What is durable changes with syncs alone.
std::vector<CutChoice> VerbCrashes::choices(bool after_sync) {
  using Content = CutChoice::Content;
  using Names = CutChoice::Names;
  std::vector<CutChoice> choices{{Content::all, Names::ordered, 0}};
  if (after_sync) {
    choices.push_back({Content::none, Names::ordered, 0});
    choices.push_back({Content::none, Names::strict, 0});
  }
  for (unsigned i = 0; i < options_.rounds; ++i) choices.push_back(CutChoice::random(random_()));
  return choices;
}

void VerbCrashes::check(const VersionScenario& scenario, const std::string& where,
                        const std::filesystem::path& folder, const VersionCheck& check) {
  const auto faults = check_version_state(folder, scenario, check);
  if (faults.empty()) return;
  std::string text;
  for (const std::string& fault : faults) text += "- " + fault + "\n";
  report(scenario, where, text);
}

void VerbCrashes::cut_power(const VersionScenario& scenario, const std::filesystem::path& scratch) {
  Recorder recorder(scratch / "store");
  VersionState before, after;
  std::uint64_t begun = 0, done = 0;
  {
    VersionWorld world(recorder.root(), first_boot);
    storage_observer = &recorder;
    const struct Unwatch {
      ~Unwatch() { storage_observer = nullptr; }
    } unwatch;
    scenario.prepare(world);
    world.close();
    world.open();
    if (scenario.go_live) scenario.go_live(world);
    before.model = world.model();
    recorder.skip_syncs(
        [this](const std::string& path) { return is_skipped(options_.broken, path); });
    begun = recorder.mark();
    scenario.verb(world);
    done = recorder.mark();
    after.model = world.model();
    world.close();
  }
  if (options_.broken.empty())
    for (const std::string& fault : compare_with_log(recorder, scratch))
      report(scenario, "without a cut", fault);

  const auto& log = recorder.operations();
  const auto folder = scratch / "state";
  CutChoice everything;
  PowerCut power_cut(log), at_end(log);
  power_cut.advance(begun);
  power_cut.rebuild(everything, folder);
  before.picture = picture_at(folder, next_boot);
  at_end.advance(done);
  at_end.rebuild(everything, folder);
  after.picture = picture_at(folder, next_boot);

  const auto is_sync = [](const Operation& operation) {
    return operation.kind == Operation::Kind::sync ||
           operation.kind == Operation::Kind::sync_directory;
  };
  for (std::uint64_t cut = begun + 1; cut <= log.size() && !has_seen_enough(); ++cut) {
    power_cut.advance(cut);
    const bool is_done = cut > done;
    for (const CutChoice& choice : choices(cut == begun + 1 || is_done || is_sync(log[cut - 1]))) {
      power_cut.rebuild(choice, folder);
      ++cut_states_;
      check(scenario,
            "cut " + std::to_string(cut) + " of " + std::to_string(begun) + " … " +
                std::to_string(done) + ", " + to_string(choice),
            folder, {is_done ? nullptr : &before, &after, next_boot, true, is_thorough()});
    }
    // Of what happens when the store is closed, which is not the verb's, just the end.
    if (is_done && cut < log.size()) cut = log.size() - 1;
  }
}

void VerbCrashes::kill(const VersionScenario& scenario, const std::filesystem::path& scratch) {
  VersionState before, after;
  const auto folder = scratch / "state", prepared = scratch / "store";
  std::filesystem::remove_all(prepared);
  Recorder recorder(prepared);
  {
    VersionWorld world(prepared, first_boot);
    storage_observer = &recorder;
    scenario.prepare(world);
    world.close();
    storage_observer = nullptr;
    before.model = world.model();
  }
  PowerCut prepared_store(recorder.operations());
  prepared_store.advance(recorder.operations().size());
  const auto rebuild = [&] { prepared_store.rebuild({}, folder); };
  const VersionModel at_rest = before.model;
  // What the models are then, and the pictures.
  rebuild();
  {
    VersionWorld world(folder, first_boot);
    world.model() = at_rest;
    world.open();
    if (scenario.go_live) scenario.go_live(world);
    before.model = world.model();
    before.picture = picture_of(world.store());
    scenario.verb(world);
    after.model = world.model();
    after.picture = picture_of(world.store());
  }
  // Other seeds kill in other places.
  for (std::uint64_t deadly = random_() % kill_period; !has_seen_enough(); deadly += kill_period) {
    rebuild();
    const bool is_done = kill_in_verb(scenario, folder, first_boot, at_rest, deadly);
    ++kill_states_;
    check(scenario, "killed before change " + std::to_string(deadly), folder,
          {is_done ? nullptr : &before, &after, first_boot, false, is_thorough()});
    if (is_done) return;
  }
}

int run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto until = start + std::chrono::minutes(options.minutes);
  VerbCrashes crashes(options);
  bool is_known = false;
  do {
    for (const VersionScenario& scenario : version_scenarios()) {
      if (!options.only.empty() && scenario.name != options.only) continue;
      is_known = true;
      if (!crashes.has_seen_enough()) crashes.run(scenario);
    }
  } while (is_known && !crashes.has_seen_enough() && Clock::now() < until);
  if (!is_known) {
    std::fprintf(stderr, "there is no scenario %s\n", options.only.c_str());
    return 2;
  }
  crashes.print_totals(std::chrono::duration<double>(Clock::now() - start).count());
  return has_passed(options, crashes.faulty()) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace plydisk::torture

int main(int argc, char** argv) {
  using namespace plydisk::torture;
  Options options;
  options.rounds = 1;
  if (!parse_options(options, argc, argv)) return 2;
  register_recording_vfs();
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
