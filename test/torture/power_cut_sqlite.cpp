// Shows that the recorder and the rebuilder are right, on a program whose behaviour is known:
// SQLite. With synchronous=FULL every committed transaction survives every cut, in all journal
// modes that sync. With a sync taken out the same check must find that one is lost, or the test
// fails. Takes --seed, and --states for each variant.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/sqlite.hpp"
#include "options.hpp"
#include "power_cut.hpp"
#include "recorder.hpp"
#include "recording_vfs.hpp"
#include "scratch.hpp"

namespace plydisk::torture {
namespace {

struct Variant {
  const char* name;
  const char* journal;      // PRAGMA journal_mode
  const char* synchronous;  // PRAGMA synchronous
  bool must_fail;
  // Whether the sync of this file or directory is taken out.
  bool (*skip)(const std::string& path);
};

bool ends_with(const std::string& text, const char* end) { return text.ends_with(end); }
bool skip_nothing(const std::string&) { return false; }

// What a rollback journal guards against is a cut between its sync and its removal, so directory
// syncs matter there; in WAL mode they matter while the log is new.
const Variant variants[] = {
    {"wal", "WAL", "FULL", false, skip_nothing},
    {"delete", "DELETE", "FULL", false, skip_nothing},
    {"truncate", "TRUNCATE", "FULL", false, skip_nothing},
    {"wal, synchronous=OFF", "WAL", "OFF", true, skip_nothing},
    {"wal, synchronous=NORMAL", "WAL", "NORMAL", true, skip_nothing},
    {"delete, synchronous=OFF", "DELETE", "OFF", true, skip_nothing},
    {"wal, log not synced", "WAL", "FULL", true,
     [](const std::string& path) { return ends_with(path, "-wal"); }},
    {"wal, database not synced", "WAL", "FULL", true,
     [](const std::string& path) { return ends_with(path, ".sqlite"); }},
    {"delete, journal not synced", "DELETE", "FULL", true,
     [](const std::string& path) { return ends_with(path, "-journal"); }},
    {"delete, directory not synced", "DELETE", "FULL", true,
     [](const std::string& path) { return ends_with(path, "/store"); }},
};

using Rows = std::map<std::int64_t, std::int64_t>;  // id to the transaction that wrote it last

struct Committed {
  std::uint64_t began, ended;  // positions in the log
  Rows rows;                   // after it
};

Database open_database(const std::filesystem::path& path, const Variant& variant) {
  Database db = Database::open(path, Database::Mode::create);
  db.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA page_size=1024");
  db.exec((std::string("PRAGMA journal_mode=") + variant.journal).c_str());
  db.exec((std::string("PRAGMA synchronous=") + variant.synchronous).c_str());
  db.exec("PRAGMA wal_autocheckpoint=0");
  return db;
}

std::vector<Committed> work(Recorder& recorder, const Variant& variant, std::uint64_t seed) {
  const auto path = recorder.root() / "index.sqlite";
  std::mt19937_64 random(seed);
  std::optional<Database> db = open_database(path, variant);
  db->exec("CREATE TABLE cell (id INTEGER PRIMARY KEY, writer INTEGER, filler BLOB)");
  std::vector<Committed> history;
  history.push_back({recorder.position(), recorder.mark(), {}});
  Rows rows;
  for (std::int64_t transaction = 1; transaction <= 120; ++transaction) {
    Committed committed{recorder.position(), 0, {}};
    {
      Transaction scope(*db);
      Statement put(*db, "INSERT OR REPLACE INTO cell VALUES (?, ?, zeroblob(?))");
      for (std::uint64_t row = 0, count = 1 + random() % 12; row < count; ++row) {
        const auto id = static_cast<std::int64_t>(random() % 200);
        put.bind(1, id).bind(2, transaction).bind(3, static_cast<std::int64_t>(random() % 900));
        put.run();
        rows[id] = transaction;
      }
      put.bind(1, std::int64_t{-1}).bind(2, transaction).bind(3, std::int64_t{0}).run();
      rows[-1] = transaction;
      scope.commit();
    }
    committed.ended = recorder.mark();
    committed.rows = rows;
    history.push_back(std::move(committed));
    if (random() % 8 == 0) {
      static const char* const kinds[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};
      const std::string kind = kinds[random() % 4];
      Statement(*db, "PRAGMA wal_checkpoint(" + kind + ")").step();
    }
    if (random() % 30 == 0) {
      db.reset();
      db.emplace(open_database(path, variant));
    }
  }
  return history;
}

// Empty, or what is wrong.
std::string fault(const std::filesystem::path& folder, const Variant& variant,
                  const std::vector<Committed>& history, std::uint64_t cut) {
  try {
    Database db = open_database(folder / "index.sqlite", variant);
    db.check();
    Rows found;
    Statement get(db, "SELECT id, writer FROM cell");
    while (get.step()) found[get.integer(0)] = get.integer(1);
    const auto last = static_cast<std::size_t>(found.contains(-1) ? found[-1] : 0);
    if (last >= history.size() || history[last].began >= cut)
      return "transaction " + std::to_string(last) + " is there before it began";
    if (last + 1 < history.size() && history[last + 1].ended < cut)
      return "transaction " + std::to_string(last + 1) + " was committed and is lost";
    if (found != history[last].rows)
      return "the rows are not those of transaction " + std::to_string(last);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

bool run(const Variant& variant, std::uint64_t seed, unsigned states) {
  const Scratch scratch;
  Recorder recorder(scratch.path() / "store");
  std::filesystem::create_directory(recorder.root());
  recorder.skip_syncs(variant.skip);
  storage_observer = &recorder;
  const auto history = work(recorder, variant, seed);
  storage_observer = nullptr;

  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> cuts(states);
  const std::uint64_t from = history.front().ended + 1;
  for (auto& cut : cuts) cut = from + random() % (recorder.operations().size() + 1 - from);
  std::ranges::sort(cuts);

  PowerCut power_cut(recorder.operations());
  unsigned faults = 0;
  for (const std::uint64_t cut : cuts) {
    const CutChoice choice = CutChoice::random(random());
    power_cut.advance(cut);
    power_cut.rebuild(choice, scratch.path() / "state");
    const std::string found = fault(scratch.path() / "state", variant, history, cut);
    if (found.empty()) continue;
    if (!variant.must_fail)
      std::fprintf(stderr, "%s: seed %llu, cut %llu of %zu, %s: %s\n", variant.name,
                   static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cut),
                   recorder.operations().size(), to_string(choice).c_str(), found.c_str());
    ++faults;
  }
  const bool passed = (faults > 0) == variant.must_fail;
  std::printf("%s: %s: %u states, %u faults%s\n", passed ? "ok" : "FAILED", variant.name, states,
              faults, variant.must_fail ? ", as there must be" : "");
  return passed;
}

}  // namespace
}  // namespace plydisk::torture

int main(int argc, char** argv) {
  using namespace plydisk::torture;
  Options options;
  options.states = 150;
  if (!parse_options(options, argc, argv)) return 2;
  register_recording_vfs();
  unsigned failed = 0;
  for (const Variant& variant : variants)
    if (!run(variant, options.seed, options.states)) ++failed;
  std::printf("%zu passed, %u failed\n", std::size(variants) - failed, failed);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
