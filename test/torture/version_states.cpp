#include "version_states.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "sector_pattern.hpp"
#include "stack/stack.hpp"

namespace plydisk::torture {

namespace {

using Faults = std::vector<std::string>;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += " " + word;
  return text;
}

std::string session_key(const SessionRecord& session) {
  return session.image + "@" + session.station;
}

// `other`: what sectors may hold besides, or null.
void compare_content(const std::string& what, const DiskView& view, const Content& expected,
                     const Content* other, Faults& faults) {
  Content found(expected.size());
  if (view.stack->version->size() != expected.size())
    return faults.push_back(what + " has another size");
  view.stack->read(found.data(), found.size(), 0);
  for (std::size_t at = 0; at < found.size(); at += pattern_size) {
    const auto is_as_in = [&](const Content& content) {
      return std::memcmp(&found[at], &content[at], pattern_size) == 0;
    };
    if (is_as_in(expected) || (other != nullptr && is_as_in(*other))) continue;
    return faults.push_back(what + ": sector " + std::to_string(at / pattern_size) + " is " +
                            describe_sector(&found[at]) + " instead of " +
                            describe_sector(&expected[at]));
  }
}

void check_versions(Store& store, const VersionModel& model, const VersionModel* other,
                    bool thorough, Faults& faults) {
  std::set<std::string> missing;
  for (const auto& [name, content] : model.versions) missing.insert(name);
  for (const ImageRecord& image : store.catalogue().images())
    for (const VersionRecord& version : store.catalogue().versions(image.name)) {
      const std::string name = image.name + ":" + std::to_string(version.number);
      const auto expected = model.versions.find(name);
      if (expected == model.versions.end()) {
        faults.push_back("there is a version " + name);
        continue;
      }
      missing.erase(name);
      // One has no disk of its own until it is closed; its session is looked at.
      if (version.state == "open") continue;
      compare_content("version " + name, store.view_version(image.name, version.number),
                      expected->second, other ? &other->versions.at(name) : nullptr, faults);
      if (!thorough) continue;
      const Verification verified = store.verify_version(image.name, version.number, {});
      if (!verified.damaged.empty())
        faults.push_back("version " + name + " has " + std::to_string(verified.damaged.size()) +
                         " chunks that differ from their hashes");
    }
  for (const auto& name : missing) faults.push_back("there is no version " + name);
}

void check_sessions(Store& store, const VersionModel& model, bool rebooted, Faults& faults) {
  std::set<std::string> found;
  for (const SessionStatus& session : store.sessions()) {
    const std::string name = session_key(session.record);
    const auto expected = model.sessions.find(name);
    if (expected == model.sessions.end()) {
      faults.push_back("there is a session " + name);
      continue;
    }
    found.insert(name);
    compare_content("session " + name, store.view_session(session.record.id),
                    expected->second.content, nullptr, faults);
  }
  for (const auto& [name, session] : model.sessions)
    if ((session.persistent || !rebooted) && !found.contains(name))
      faults.push_back("the session " + name + " is gone");
}

void check_soundness(Store& store, const VersionModel& model, Faults& faults) {
  for (const std::string& fault : store.check({}).faults) faults.push_back("check: " + fault);
  const Garbage garbage = store.collect_garbage(true, false);
  for (const std::string& path : garbage.unknown)
    if (!model.unknown.contains(path)) faults.push_back(path + " was left over");
  for (const auto& [image, number] : garbage.versions)
    faults.push_back("version " + std::to_string(number) + " of " + image + " was left over");
}

std::unique_ptr<Store> open_store(const std::filesystem::path& folder, const std::string& boot) {
  StoreOptions options;
  options.boot_id = boot;
  return Store::open(folder, options);
}

// Which of the states it is; null: none.
const VersionState* recognize(Store& store, const VersionCheck& check, Faults& faults) {
  const std::string picture = picture_of(store);
  for (const VersionState* state : {check.after, check.before})
    if (state != nullptr && state->picture == picture) return state;
  std::string text = "the catalogue says\n" + picture;
  if (check.before != nullptr) text += " which is neither\n" + check.before->picture;
  text += (check.before != nullptr ? " nor\n" : " which is not\n") + check.after->picture;
  faults.push_back(text);
  return nullptr;
}

}  // namespace

std::string picture_of(Store& store) {
  std::string text;
  Catalogue& catalogue = store.catalogue();
  for (const ImageRecord& image : catalogue.images()) {
    text += "  image " + image.name + ", " + std::to_string(image.size) + " bytes, newest " +
            std::to_string(image.newest) + "\n";
    for (const VersionRecord& version : catalogue.versions(image.name))
      text += "   version " + std::to_string(version.number) + " on " +
              std::to_string(version.base) + " " + version.state + " " + version.station + ", " +
              std::to_string(version.layers.size()) + " layers, tested by" +
              joined(version.testers) + "\n";
  }
  for (const StationRecord& station : catalogue.stations())
    text += "  station " + station.name + " " + station.image.value_or("") + "\n";
  std::vector<std::string> sessions;
  for (const SessionRecord& session : catalogue.sessions())
    sessions.push_back("  session " + session_key(session) + " on version " +
                       std::to_string(session.version) +
                       (session.ended == 0 ? " live" : " at rest") + "\n");
  std::ranges::sort(sessions);
  for (const std::string& session : sessions) text += session;
  for (const std::string& path : store.collect_garbage(true, false).unknown)
    text += "  unknown " + path + "\n";
  return text;
}

std::vector<std::string> check_version_state(const std::filesystem::path& folder,
                                             const VersionScenario& scenario,
                                             const VersionCheck& check) {
  Faults faults;
  try {
    auto store = open_store(folder, check.boot);
    const VersionState* const state = recognize(*store, check, faults);
    if (state == nullptr) return faults;
    check_soundness(*store, state->model, faults);
    const bool is_mixed = !scenario.is_atomic && check.before != nullptr;
    check_versions(*store, state->model, is_mixed ? &check.before->model : nullptr, check.thorough,
                   faults);
    check_sessions(*store, state->model, check.rebooted, faults);
    if (!check.thorough || state != check.before || !faults.empty()) return faults;

    store.reset();
    VersionWorld again(folder, check.boot);
    again.model() = state->model;
    again.open();
    scenario.verb(again);
    if (picture_of(again.store()) != check.after->picture)
      faults.push_back("done again, the verb leads to\n" + picture_of(again.store()));
    check_soundness(again.store(), check.after->model, faults);
    check_versions(again.store(), check.after->model, nullptr, true, faults);
    check_sessions(again.store(), check.after->model, check.rebooted, faults);
  } catch (const std::exception& error) {
    faults.push_back(error.what());
  }
  return faults;
}

}  // namespace plydisk::torture
