#include "version_scenarios.hpp"

#include "base/file.hpp"
#include "stack/chunk_hashes.hpp"

namespace plydisk::torture {

namespace {

constexpr Destination persistent = Destination::server_persistent;
constexpr Destination lost = Destination::server_volatile;
constexpr const char* used_image = VersionWorld::image;

void with_image(VersionWorld& world) {
  world.make();
  world.make_image();
  world.add_station("pc", persistent);
  world.add_station("other", lost);
}

// Version 1 is the backing, each of 2 … `last` lies on the one before.
void with_versions(VersionWorld& world, unsigned last) {
  with_image(world);
  for (unsigned number = 2; number <= last; ++number) world.add_version(number - 1, number, number);
}

// Besides, a station has written an open version, in so many layers.
void with_open_version(VersionWorld& world, unsigned layers) {
  with_versions(world, 2);
  world.open_version(2, 3, "pc");
  world.connect("pc", 3);
  for (unsigned i = 0; i < layers; ++i) {
    if (i > 0) world.begin_layer("pc");
    world.write("pc", 10 + i);
  }
  world.end("pc");
}

// Four versions in a row, and a fifth on top that stays.
void to_be_merged(VersionWorld& world) {
  with_versions(world, 5);
  world.store().publish_version(used_image, 4);
}

void use_published(VersionWorld& world, const std::string& station, unsigned version) {
  world.store().publish_version(used_image, version);
  world.connect(station, version);
  world.write(station, 20);
}

// A station is on version 3 when that is merged away.
void merge_under_session(VersionWorld& world) {
  world.store().publish_version(used_image, 4);
  world.merge(2, 4, {2});
}

Store::NewImage new_image() {
  Store::NewImage made;
  made.name = "new";
  return made;
}

std::filesystem::path capture_of(const VersionWorld& world) {
  return world.folder() / "captures" / "new";
}

std::vector<VersionScenario> image_scenarios() {
  return {
      {"create-empty",
       with_image,
       {},
       [](VersionWorld& world) {
         auto made = new_image();
         made.size = 1 << 20;
         world.store().create_image(made, {});
         world.model().versions["new:1"] = Content(1 << 20);
       }},
      {"create-from-file",
       with_image,
       {},
       [](VersionWorld& world) {
         const Content content = VersionWorld::pattern(7);
         put_file(world.folder().parent_path() / "source", content);
         auto made = new_image();
         made.from = (world.folder().parent_path() / "source").string();
         world.store().create_image(made, {});
         world.model().versions["new:1"] = content;
       }},
      {"adopt",
       [](VersionWorld& world) {
         with_image(world);
         create_directory_durably(world.folder() / "captures");
         put_file(capture_of(world) / "disk", VersionWorld::pattern(7));
         put_file(capture_of(world) / "log", Content(100));
         world.model().unknown.insert("captures/new");
       },
       {},
       [](VersionWorld& world) {
         world.store().adopt_image(new_image(), {});
         world.model().versions["new:1"] = VersionWorld::pattern(7);
         world.model().unknown.clear();
       }},
      {"remove",
       [](VersionWorld& world) {
         with_versions(world, 3);
         for (const auto& station : world.store().catalogue().stations())
           world.store().catalogue().change_station(
               station.name, [](StationRecord& record) { record.image.reset(); });
       },
       {},
       [](VersionWorld& world) {
         world.store().remove_image(used_image);
         world.model().versions.clear();
       }},
  };
}

std::vector<VersionScenario> version_verb_scenarios() {
  return {
      {"open",
       [](VersionWorld& world) { with_versions(world, 2); },
       {},
       [](VersionWorld& world) { world.open_version(2, 3, "pc"); }},
      {"close",
       [](VersionWorld& world) { with_open_version(world, 1); },
       {},
       [](VersionWorld& world) { world.close_version(3, "pc"); }},
      {"close-layers",
       [](VersionWorld& world) { with_open_version(world, 3); },
       {},
       [](VersionWorld& world) { world.close_version(3, "pc"); }},
      {"publish",
       [](VersionWorld& world) { with_versions(world, 2); },
       {},
       [](VersionWorld& world) { world.store().publish_version(used_image, 2); }},
      {"test",
       [](VersionWorld& world) { with_versions(world, 2); },
       {},
       [](VersionWorld& world) {
         world.store().test_version(used_image, 2, {"pc", "other"});
       }},
      {"discard",
       [](VersionWorld& world) { with_versions(world, 3); },
       {},
       [](VersionWorld& world) {
         world.store().discard_version(used_image, 3);
         world.model().versions.erase(VersionWorld::key(3));
       }},
      {"discard-open",
       [](VersionWorld& world) { with_open_version(world, 2); },
       {},
       [](VersionWorld& world) {
         world.store().discard_version(used_image, 3);
         world.model().versions.erase(VersionWorld::key(3));
         world.model().sessions.clear();
       }},
      {"freeze",
       [](VersionWorld& world) {
         with_versions(world, 2);
         use_published(world, "pc", 2);
         world.end("pc");
       },
       {},
       [](VersionWorld& world) {
         world.store().freeze_version(used_image, "pc", {});
         world.model().versions[VersionWorld::key(3)] =
             world.model().sessions.at(VersionWorld::key("pc")).content;
       }},
      {"freeze-live", [](VersionWorld& world) { with_versions(world, 2); },
       [](VersionWorld& world) { use_published(world, "pc", 2); },
       [](VersionWorld& world) {
         world.store().freeze_version(used_image, "pc", {});
         world.model().versions[VersionWorld::key(3)] =
             world.model().sessions.at(VersionWorld::key("pc")).content;
       }},
      {"verify",
       [](VersionWorld& world) {
         with_versions(world, 3);
         ChunkHashes::remove(world.folder() / "images" / used_image);
         for (const auto& layer : world.store().layers()) ChunkHashes::remove(layer.folder);
       },
       {},
       [](VersionWorld& world) { world.store().verify_version(used_image, 3, {}); }},
  };
}

std::vector<VersionScenario> merge_scenarios() {
  return {
      {"merge",
       to_be_merged,
       {},
       [](VersionWorld& world) {
         world.merge(2, 4, {2, 3});
       }},
      {"merge-used-at-rest",
       [](VersionWorld& world) {
         with_versions(world, 5);
         use_published(world, "pc", 3);
         world.end("pc");
         world.store().publish_version(used_image, 4);
       },
       {},
       [](VersionWorld& world) { world.merge(2, 4, {2}); }},
      {"merge-used-live",
       [](VersionWorld& world) {
         with_versions(world, 5);
         world.store().publish_version(used_image, 3);
       },
       [](VersionWorld& world) {
         use_published(world, "pc", 3);
         world.store().publish_version(used_image, 4);
       },
       [](VersionWorld& world) { world.merge(2, 4, {2}); }},
      {"end-on-retired",
       [](VersionWorld& world) {
         with_versions(world, 5);
         use_published(world, "pc", 3);
         world.end("pc");
         merge_under_session(world);
       },
       {},
       [](VersionWorld& world) {
         world.end("pc", true);
         world.model().versions.erase(VersionWorld::key(3));
       }},
      {"end-live-on-retired", [](VersionWorld& world) { with_versions(world, 5); },
       [](VersionWorld& world) {
         use_published(world, "pc", 3);
         merge_under_session(world);
       },
       [](VersionWorld& world) {
         world.end("pc", true);
         world.model().versions.erase(VersionWorld::key(3));
       }},
  };
}

std::vector<VersionScenario> other_scenarios() {
  return {
      // What is written to an image itself takes its hashes away first.
      {"write-directly",
       [](VersionWorld& world) {
         with_image(world);
         world.add_station("boss", Destination::direct);
       },
       {},
       [](VersionWorld& world) {
         const std::string session = VersionWorld::key("boss");
         world.connect("boss", 1);
         world.write("boss", 30);
         world.model().versions[VersionWorld::key(1)] = world.model().sessions.at(session).content;
         world.end("boss");
         world.model().sessions.erase(session);
       },
       false},
      {"gc",
       [](VersionWorld& world) {
         with_versions(world, 2);
         put_file(world.folder() / "layers" / "strange" / "data", Content(5000));
         world.model().unknown = {"layers/strange"};
       },
       {},
       [](VersionWorld& world) {
         world.store().collect_garbage(false, true);
         world.model().unknown.clear();
       }},
      {"rename-station",
       [](VersionWorld& world) {
         with_open_version(world, 1);
         world.store().test_version(used_image, 2, {"pc"});
       },
       {},
       [](VersionWorld& world) {
         world.store().rename_station("pc", "desk");
         auto& sessions = world.model().sessions;
         auto moved = sessions.extract(VersionWorld::key("pc"));
         moved.key() = VersionWorld::key("desk");
         sessions.insert(std::move(moved));
       }},
      {"remove-station",
       [](VersionWorld& world) {
         with_versions(world, 2);
         world.store().test_version(used_image, 2, {"pc", "other"});
       },
       {},
       [](VersionWorld& world) { world.store().remove_station("pc"); }},
  };
}

}  // namespace

std::vector<VersionScenario> version_scenarios() {
  std::vector<VersionScenario> all;
  for (auto& some :
       {image_scenarios(), version_verb_scenarios(), merge_scenarios(), other_scenarios()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

}  // namespace plydisk::torture
