// The catalogue's versions: their states, who gets which, and what is refused.
#include <algorithm>

#include "catalogue_fixture.hpp"

using namespace plydisk;
using plydisk::test::CatalogueFixture;
using plydisk::test::error_of;
using plydisk::test::layer_record;
using plydisk::test::mentions;
using plydisk::test::session_record;
using plydisk::test::station_record;

namespace {

// Beside the fixture's, a station "pc08".
struct VersionsFixture : CatalogueFixture {
  VersionsFixture() { catalogue->add_station(station_record("pc08")); }

  std::vector<std::string> layers_of(unsigned number) {
    return catalogue->version("debian", number).layers;
  }
  std::string state_of(unsigned number) { return catalogue->version("debian", number).state; }
  // A frozen version with one more layer than `base`; its number.
  unsigned add_frozen(unsigned base) {
    VersionRecord version;
    version.image = "debian";
    version.state = "frozen";
    version.base = base;
    version.layers = layers_of(base);
    const LayerRecord layer = layer_record("debian", "", static_cast<int>(version.layers.size()),
                                           version.layers.empty() ? "" : version.layers.back());
    version.layers.push_back(layer.uuid);
    return catalogue->add_version(version, {layer});
  }
  unsigned open(const std::string& station, unsigned base = 1) {
    VersionRecord version;
    version.image = "debian";
    version.state = "open";
    version.base = base;
    version.station = station;
    version.layers = layers_of(base);
    return catalogue->add_version(version, {});
  }
  // A session at rest that holds a layer.
  LayerRecord leave_session(const std::string& id, const std::string& station, unsigned version) {
    SessionRecord session = session_record(id, station, "debian");
    session.version = version;
    session.ended = 2000;
    const LayerRecord layer = layer_record("debian", id, 0);
    catalogue->save_session(session, {layer});
    return layer;
  }
  LayerRecord close(unsigned number, LayerRecord layer, const std::string& session) {
    layer.session.clear();
    layer.state = "frozen";
    layer.created = 3000;
    catalogue->close_version("debian", number, layer, session);
    return layer;
  }
  bool is_doomed(const std::string& uuid) {
    const auto doomed = catalogue->doomed_layers();
    return std::ranges::find(doomed, uuid) != doomed.end();
  }
};

}  // namespace

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a version is opened, written and closed") {
  CHECK(open("pc07") == 2);
  CHECK(state_of(2) == "open");
  CHECK(catalogue->open_version("debian")->station == "pc07");
  CHECK(catalogue->version_for("debian", "pc07") == 2);
  CHECK(catalogue->version_for("debian", "pc08") == 1);
  const Error second = error_of([&] { open("pc08"); });
  CHECK(second.code() == EBUSY);
  CHECK(mentions(second, "pc07"));

  const LayerRecord layer = close(2, leave_session("s1", "pc07", 2), "s1");
  CHECK(state_of(2) == "frozen");
  CHECK(layers_of(2) == std::vector{layer.uuid});
  CHECK(catalogue->version("debian", 2).station.empty());
  CHECK(catalogue->version("debian", 2).created == 3000);
  CHECK_FALSE(catalogue->find_session("s1"));
  CHECK_FALSE(catalogue->open_version("debian"));
  CHECK_FALSE(is_doomed(layer.uuid));
  CHECK(error_of([&] { close(2, layer, ""); }).code() == EINVAL);
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a folded layer takes the place of a session's") {
  open("pc07");
  const LayerRecord written = leave_session("s1", "pc07", 2);
  const LayerRecord folded = close(2, layer_record("debian", "", 0), "s1");
  CHECK(layers_of(2) == std::vector{folded.uuid});
  CHECK(is_doomed(written.uuid));
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: no number is given twice") {
  CHECK(add_frozen(1) == 2);
  CHECK(add_frozen(2) == 3);
  catalogue->remove_version("debian", 3);
  CHECK(open("pc07") == 4);
  catalogue->remove_version("debian", 4);
  reopen();
  CHECK(add_frozen(1) == 5);
  CHECK(catalogue->image("debian").newest == 5);
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: what can't be opened") {
  CHECK(error_of([&] { open("nobody"); }).code() == ENOENT);
  VersionRecord version;
  version.image = "debian";
  version.state = "frozen";
  version.base = 7;
  CHECK(error_of([&] { catalogue->add_version(version, {}); }).code() == ENOENT);
  version.image = "debiam";
  CHECK(error_of([&] { catalogue->add_version(version, {}); }).code() == ENOENT);
  CHECK(catalogue->image("debian").newest == 1);
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: published is the one that stations get") {
  add_frozen(1);
  catalogue->publish_version("debian", 2);
  CHECK(state_of(1) == "frozen");
  CHECK(state_of(2) == "published");
  CHECK(catalogue->version_for("debian", "pc07") == 2);
  catalogue->publish_version("debian", 1);
  CHECK(state_of(2) == "frozen");
  CHECK(catalogue->version_for("debian", "") == 1);
  CHECK(error_of([&] { catalogue->publish_version("debian", 3); }).code() == ENOENT);
  CHECK(error_of([&] { catalogue->version_for("debiam", "pc07"); }).code() == ENOENT);
  open("pc07");
  const Error refusal = error_of([&] { catalogue->publish_version("debian", 3); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "pc07"));
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: testers get a version before others") {
  add_frozen(1);
  add_frozen(1);
  catalogue->test_version("debian", 2, {"pc07", "pc08"});
  CHECK(catalogue->version("debian", 2).testers == std::vector<std::string>{"pc07", "pc08"});
  CHECK(catalogue->version_for("debian", "pc07") == 2);
  CHECK(catalogue->version_for("debian", "") == 1);
  // A station tests one version.
  catalogue->test_version("debian", 3, {"pc08"});
  CHECK(catalogue->version("debian", 2).testers == std::vector<std::string>{"pc07"});
  CHECK(catalogue->version_for("debian", "pc08") == 3);

  CHECK(error_of([&] {
          catalogue->test_version("debian", 2, {"pc08", "nobody"});
        }).code() == ENOENT);
  CHECK(catalogue->version("debian", 2).testers == std::vector<std::string>{"pc07"});
  const Error tested = error_of([&] { catalogue->remove_version("debian", 2); });
  CHECK(tested.code() == EBUSY);
  CHECK(mentions(tested, "pc07"));
  // What an open version's station writes comes before what it tests.
  CHECK(open("pc07") == 4);
  CHECK(catalogue->version_for("debian", "pc07") == 4);
  CHECK(error_of([&] { catalogue->test_version("debian", 4, {"pc08"}); }).code() == EBUSY);
  catalogue->test_version("debian", 2, {});
  catalogue->remove_version("debian", 2);
  catalogue->publish_version("debian", 3);
  CHECK(catalogue->version("debian", 3).testers.empty());
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: what is in use is not removed") {
  add_frozen(1);
  const std::string layer = layers_of(2).front();
  CHECK(error_of([&] { catalogue->remove_version("debian", 1); }).code() == EBUSY);
  leave_session("s1", "pc07", 2);
  const Error refusal = error_of([&] { catalogue->remove_version("debian", 2); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "s1"));
  CHECK(mentions(refusal, "pc07"));
  leave_session("s2", "pc08", 2);
  CHECK(mentions(error_of([&] { catalogue->remove_version("debian", 2, "s1"); }), "pc08"));
  catalogue->remove_session("s2");
  catalogue->remove_version("debian", 2, "s1");
  CHECK_FALSE(catalogue->find_session("s1"));
  CHECK(error_of([&] { catalogue->version("debian", 2); }).code() == ENOENT);
  CHECK(is_doomed(layer));
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: layers that another version has stay") {
  add_frozen(1);
  add_frozen(2);
  const auto layers = layers_of(3);
  catalogue->remove_version("debian", 2);
  CHECK(catalogue->find_layer(layers[0]));
  catalogue->remove_version("debian", 3);
  CHECK(is_doomed(layers[0]));
  CHECK(is_doomed(layers[1]));
}

TEST_CASE_FIXTURE(VersionsFixture,
                  "catalogue: what a version was made on is a version that stays") {
  const auto bases = [&] {
    std::vector<unsigned> numbers;
    for (const auto& version : catalogue->versions("debian")) numbers.push_back(version.base);
    return numbers;
  };
  using Numbers = std::vector<unsigned>;
  // 1 - 2 - 3 - 4 - 5, and 6 beside 4, and 7 opened on 2.
  for (const unsigned base : {1, 2, 3, 4, 3}) add_frozen(base);
  open("pc07", 2);
  CHECK(bases() == Numbers{0, 1, 2, 3, 4, 3, 2});
  // Retired, 2 and 3 are no bases of others any more, although they are there.
  leave_session("s1", "pc08", 3);
  catalogue->merge_layers("debian", {}, std::nullopt, {2, 3});
  CHECK(bases() == Numbers{0, 1, 1, 1, 4, 1, 1});
  catalogue->remove_session("s1");
  for (const unsigned number : {3, 2}) catalogue->remove_version("debian", number);
  CHECK(bases() == Numbers{0, 1, 4, 1, 1});
  catalogue->remove_version("debian", 4);
  CHECK(bases() == Numbers{0, 1, 1, 1});
  catalogue->publish_version("debian", 5);
  catalogue->remove_version("debian", 1);
  CHECK(bases() == Numbers{0, 0, 0});
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a merged layer stands for those in all versions") {
  // 1 - 2 - 3 - 4, and 5 beside 4.
  for (const unsigned base : {1, 2, 3, 3}) add_frozen(base);
  const auto below = layers_of(4), beside = layers_of(5);
  leave_session("s1", "pc07", 2);
  const LayerRecord merged = layer_record("debian", "", 0);
  catalogue->announce_layer(merged.uuid);
  catalogue->merge_layers("debian", {below[0], below[1]}, merged, {2});
  CHECK(layers_of(2) == std::vector{below[0]});
  CHECK(state_of(2) == "retired");
  CHECK(layers_of(3) == std::vector{merged.uuid});
  CHECK(layers_of(4) == std::vector{merged.uuid, below[2]});
  CHECK(layers_of(5) == std::vector{merged.uuid, beside[2]});
  CHECK(catalogue->find_layer(below[0]));
  CHECK(is_doomed(below[1]));
  CHECK_FALSE(is_doomed(merged.uuid));

  CHECK(catalogue->unused_versions().empty());
  CHECK(error_of([&] { catalogue->publish_version("debian", 2); }).code() == EBUSY);
  CHECK(error_of([&] { catalogue->test_version("debian", 2, {"pc08"}); }).code() == EBUSY);
  catalogue->remove_session("s1");
  const auto unused = catalogue->unused_versions();
  REQUIRE(unused.size() == 1);
  CHECK(unused[0].number == 2);
  catalogue->remove_version("debian", 2);
  CHECK(is_doomed(below[0]));
  CHECK(catalogue->find_faults().empty());
}

TEST_CASE_FIXTURE(VersionsFixture,
                  "catalogue: a merge of what has changed meanwhile does nothing") {
  for (const unsigned base : {1, 2, 3}) add_frozen(base);
  const auto layers = layers_of(4);
  const LayerRecord merged = layer_record("debian", "", 0);
  SUBCASE("published") { catalogue->publish_version("debian", 3); }
  SUBCASE("tested") { catalogue->test_version("debian", 3, {"pc08"}); }
  const std::string state = state_of(3);
  CHECK(error_of([&] {
          catalogue->merge_layers("debian", {layers[1], layers[2]}, merged, {3});
        }).code() == EAGAIN);
  CHECK(state_of(3) == state);
  CHECK(layers_of(4) == layers);
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a run of layers that no version has is not merged") {
  for (const unsigned base : {1, 2, 3}) add_frozen(base);
  const auto layers = layers_of(4);
  const LayerRecord merged = layer_record("debian", "", 0);
  CHECK(error_of([&] {
          catalogue->merge_layers("debian", {layers[0], layers[2]}, merged, {3});
        }).code() == EAGAIN);
  CHECK(state_of(3) == "frozen");
  CHECK_FALSE(catalogue->find_layer(merged.uuid));
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a renamed station keeps what it opened and tests") {
  add_frozen(1);
  catalogue->test_version("debian", 2, {"pc07"});
  open("pc07");
  leave_session("s1", "pc07", 3);
  catalogue->rename_station("pc07", "desk");
  CHECK(catalogue->version("debian", 2).testers == std::vector<std::string>{"desk"});
  CHECK(catalogue->version("debian", 3).station == "desk");
  CHECK(catalogue->session_of("desk", "debian")->id == "s1");
  CHECK(catalogue->version_for("debian", "desk") == 3);
  CHECK(catalogue->find_faults().empty());
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: a station that has a version open is not removed") {
  add_frozen(1);
  catalogue->test_version("debian", 2, {"pc07"});
  open("pc07");
  const Error refusal = error_of([&] { catalogue->remove_station("pc07"); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "version 3"));
  catalogue->remove_version("debian", 3);
  catalogue->remove_station("pc07");
  CHECK(catalogue->version("debian", 2).testers.empty());
}

TEST_CASE_FIXTURE(VersionsFixture,
                  "catalogue: a station that has a version open is given no other image") {
  catalogue->add_image(plydisk::test::image_record("other"));
  const auto give = [&](const std::optional<std::string>& image) {
    catalogue->change_station("pc07", [&](StationRecord& station) { station.image = image; });
  };
  open("pc07");
  give("debian");
  give(std::nullopt);
  const Error refusal = error_of([&] { give("other"); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "version 2 of image \"debian\""));
  CHECK_FALSE(catalogue->station("pc07").image);
  catalogue->remove_version("debian", 2);
  give("other");
}

TEST_CASE_FIXTURE(VersionsFixture, "catalogue: an image's folder is doomed before and after it") {
  using Names = std::vector<std::string>;
  catalogue->announce_image("new");
  CHECK(catalogue->doomed_images() == Names{"new"});
  CHECK(error_of([&] { catalogue->announce_image("debian"); }).code() == EEXIST);
  CHECK(error_of([&] { catalogue->announce_image("../new"); }).code() == EINVAL);
  catalogue->add_image(plydisk::test::image_record("new"));
  CHECK(catalogue->doomed_images().empty());
  add_frozen(1);
  open("pc07", 2);
  const std::string layer = layers_of(2).front();
  catalogue->remove_image("debian");
  CHECK(catalogue->doomed_images() == Names{"debian"});
  CHECK(is_doomed(layer));
  catalogue->forget_doomed_image("debian");
  CHECK(catalogue->doomed_images().empty());
}
