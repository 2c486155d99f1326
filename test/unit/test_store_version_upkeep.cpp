// Versions in the long run: hashes, merging, what goes when nobody uses it any more, and verbs that
// meet.
#include <fcntl.h>

#include <fstream>

#include "base/file.hpp"
#include "layer/layer.hpp"
#include "stack/chunk_hashes.hpp"
#include "version_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::first_byte;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::VersionFixture;

namespace {

using Numbers = std::vector<unsigned>;

struct UpkeepFixture : VersionFixture {
  std::filesystem::path layer_of(unsigned number) {
    return path() / "layers" / store->catalogue().version("img", number).layers.back();
  }
  // Versions 2, 3, 4, each with a layer more than the one before; the last one is published.
  void add_three() {
    for (const unsigned base : {1, 2, 3}) add_version(base, static_cast<char>('a' + base));
    store->publish_version("img", 4);
  }
  Numbers versions() {
    Numbers numbers;
    for (const auto& version : store->catalogue().versions("img"))
      numbers.push_back(version.number);
    return numbers;
  }
  std::size_t folders() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path() / "layers"), {}));
  }
  // An image that is copied from a file with some data.
  Store::NewImage copied() const {
    std::ofstream(directory.path() / "source") << std::string(1 << 20, 's');
    Store::NewImage image;
    image.name = "copied";
    image.from = (directory.path() / "source").string();
    return image;
  }
};

}  // namespace

TEST_CASE_FIXTURE(UpkeepFixture, "versions have hashes, and damage is found by them") {
  add_version(1, 'a');
  add_version(2, 'b', 65536);
  CHECK(store->verify_version("img", 3, {}).chunks == 2);
  const auto damaged = layer_of(2);
  store.reset();
  File::open(damaged / Layer::data_name, O_RDWR).write("x", 1, 100);
  open("boot-2");
  for (const unsigned number : {2, 3}) {
    const Verification found = store->verify_version("img", number, {});
    REQUIRE(found.damaged.size() == 1);
    CHECK(found.damaged[0].offset == 0);
    CHECK(found.damaged[0].layer == damaged.filename());
  }
  CHECK(store->verify_version("img", 1, {}).damaged.empty());
}

TEST_CASE_FIXTURE(UpkeepFixture, "what lies on damage gets no hash that says it is sound") {
  add_version(1, 'a');
  add_version(2, 'b', 8192);
  add_version(3, 'c', 65536);
  const auto damaged = layer_of(2);
  store.reset();
  File::open(damaged / Layer::data_name, O_RDWR).write("x", 1, 100);
  open("boot-2");
  const auto damage = [&](unsigned number) {
    std::vector<std::uint64_t> offsets;
    for (const DamagedChunk& chunk : store->verify_version("img", number, {}).damaged)
      offsets.push_back(chunk.offset);
    return offsets;
  };
  const std::vector<std::uint64_t> found{0};
  // A version that is made on it, and one on that.
  for (const unsigned base : {4, 5}) {
    const unsigned number = store->open_version("img", "pc", base, "").number;
    write("pc", 'd', 4096 * base);
    write("pc", 'e', 131072);
    const Error error = error_of([&] { store->close_version("img", number, {}); });
    CHECK(mentions(error, "version " + std::to_string(number) + " of image \"img\" is there"));
    CHECK(mentions(error, "65536 bytes at 0"));
    CHECK(store->catalogue().version("img", number).state == "frozen");
    CHECK(damage(number) == found);
  }
  // Likewise where the hashes are made by the one who looks.
  ChunkHashes::remove(layer_of(6));
  CHECK(damage(6) == found);
  CHECK(damage(6) == found);
  store->publish_version("img", 6);
  store->merge_versions("img", 3, 6, {});
  CHECK(damage(6) == found);
  // Chunks that were written as a whole are what was written.
  const unsigned whole = store->open_version("img", "pc", 6, "").number;
  for (std::uint64_t at = 0; at < chunk_size; at += 4096) write("pc", 'f', at);
  store->close_version("img", whole, {});
  CHECK(damage(whole).empty());
  CHECK(damage(6) == found);
}

TEST_CASE_FIXTURE(UpkeepFixture, "damage of the backing is found, also where it had nothing") {
  store->create_image(copied(), {});
  CHECK(store->verify_version("copied", 1, {}).chunks == 16);
  store->verify_version("img", 1, {});
  for (const char* image : {"copied", "img"}) {
    const auto disk = path() / "images" / image / "disk";
    const auto time = std::filesystem::last_write_time(disk);
    File::open(disk, O_RDWR).write("x", 1, 65536 * 3);
    std::filesystem::last_write_time(disk, time);
    const Verification found = store->verify_version(image, 1, {});
    REQUIRE(found.damaged.size() == 1);
    CHECK(found.damaged[0].offset == 65536 * 3);
    CHECK(found.damaged[0].layer.empty());
  }
  const unsigned above = store->open_version("img", "pc", 1, "").number;
  write("pc", 'a', 65536 * 3 + 8192);
  CHECK(mentions(error_of([&] { store->close_version("img", above, {}); }), "at 196608"));
  CHECK(store->verify_version("img", above, {}).damaged.size() == 1);
}

TEST_CASE_FIXTURE(UpkeepFixture, "a layer without hashes is no damage, and gets them") {
  // The same chunk in each, so that the hash below is of other bytes.
  add_three();
  ChunkHashes::remove(layer_of(3));
  const StoreCheck check = store->check({});
  CHECK(check.faults.empty());
  CHECK(check.remarks.size() == 2);  // of both versions that have the layer
  const Verification third = store->verify_version("img", 3, {});
  CHECK(third.damaged.empty());
  CHECK(third.added == 1);
  ChunkHashes::remove(layer_of(4));
  const Verification fourth = store->verify_version("img", 4, {});
  CHECK(fourth.damaged.empty());
  CHECK(fourth.added == 1);
  CHECK(store->verify_version("img", 4, {}).added == 0);
}

TEST_CASE_FIXTURE(UpkeepFixture, "hashes of an image are gone before it is written directly") {
  store->create_image(copied(), {});
  const auto hashes = path() / "images" / "copied" / ChunkHashes::file_name;
  CHECK(std::filesystem::exists(hashes));
  add_station("boss", Destination::direct);
  {
    const auto connection = connect("copied@boss");
    CHECK_FALSE(std::filesystem::exists(hashes));
    put(*connection, 'd');
    CHECK(store->verify_version("copied", 1, {}).added == 0);
    CHECK_FALSE(std::filesystem::exists(hashes));
  }
  store->end_session("boss", false);
  const Verification verified = store->verify_version("copied", 1, {});
  CHECK(verified.damaged.empty());
  CHECK(verified.added == 16);
  CHECK(std::filesystem::exists(hashes));
}

TEST_CASE_FIXTURE(UpkeepFixture, "versions are merged, and what lies between goes") {
  add_three();
  const unsigned above = add_version(4, 'z', 65536);
  const MergeResult result = store->merge_versions("img", 2, 4, {});
  CHECK(result.layers == 3);
  CHECK(result.removed == Numbers{2, 3});
  CHECK(result.still_in_use.empty());
  CHECK(versions() == Numbers{1, 4, above});
  CHECK(store->catalogue().version("img", 4).layers.size() == 1);
  CHECK(store->catalogue().version("img", above).layers.size() == 2);
  CHECK(folders() == 2);
  CHECK(first_byte(store->view_version("img", 4)) == 'd');
  CHECK(first_byte(store->view_version("img", above), 65536) == 'z');
  check_all();
  open("boot-2");
  CHECK(first_byte(store->view_version("img", above)) == 'd');
  check_all();
}

TEST_CASE_FIXTURE(UpkeepFixture, "the room that versions add is that of each file once") {
  // 1 - 2 - 3 - 4, and 5 beside 4.
  for (const unsigned base : {1, 2, 3, 3}) add_version(base, static_cast<char>('a' + base));
  store->publish_version("img", 5);
  const auto check_sum = [&] {
    std::vector<std::filesystem::path> files{path() / "images" / "img" / "disk"};
    for (const auto& layer : store->layers()) files.push_back(layer.folder);
    std::uint64_t sum = 0;
    for (const auto& version : store->catalogue().versions("img"))
      sum += store->version_allocated(version);
    CHECK(sum == allocated_in(files));
  };
  check_sum();
  const auto added = [&](unsigned number) {
    return store->version_allocated(store->catalogue().version("img", number));
  };
  const std::uint64_t third = added(3), fifth = added(5);
  store->discard_version("img", 3);
  CHECK(store->catalogue().version("img", 5).base == 2);
  CHECK(added(5) == fifth);
  CHECK(added(4) > third);
  check_sum();
  store->compare_versions("img", store->catalogue().version("img", 5).base, 5, {});
  store->merge_versions("img", 2, 4, {});
  CHECK(store->catalogue().version("img", 5).base == 1);
  check_sum();
  store->discard_version("img", 1);
  check_sum();
  check_all();
}

TEST_CASE_FIXTURE(UpkeepFixture, "the backing counts for the oldest version that there is") {
  store->create_image(copied(), {});
  const unsigned number = store->open_version("copied", "pc", 1, "").number;
  put(*connect("copied@pc"), 'p');
  store->end_session("pc", false);
  store->close_version("copied", number, {});
  const auto added = [&] {
    return store->version_allocated(store->catalogue().version("copied", number));
  };
  CHECK(added() < 1 << 20);
  store->publish_version("copied", number);
  store->discard_version("copied", 1);
  CHECK(added() > 1 << 20);
}

TEST_CASE_FIXTURE(UpkeepFixture, "what can't be merged") {
  add_three();
  const unsigned beside = add_version(2, 'z');
  const auto code = [&](unsigned first, unsigned last) {
    return error_of([&] { store->merge_versions("img", first, last, {}); }).code();
  };
  CHECK(code(3, 3) == EINVAL);
  CHECK(code(3, 2) == EINVAL);
  CHECK(code(3, beside) == EINVAL);
  CHECK(code(2, 9) == ENOENT);
  store->publish_version("img", 3);
  CHECK(code(2, 4) == EBUSY);
  store->publish_version("img", 4);
  store->test_version("img", 2, {"other"});
  CHECK(mentions(error_of([&] { store->merge_versions("img", 2, 4, {}); }), "other"));
  CHECK(versions() == Numbers{1, 2, 3, 4, beside});
}

TEST_CASE_FIXTURE(UpkeepFixture, "a merged version goes with its last session") {
  add_station("keeper", Destination::server_persistent);
  add_three();
  store->publish_version("img", 3);
  auto live = connect("img@other");
  put(*live, 'o', 65536);
  write("keeper", 'k', 65536);
  store->publish_version("img", 4);
  const MergeResult result = store->merge_versions("img", 2, 4, {});
  CHECK(result.removed == Numbers{2});
  CHECK(result.still_in_use == Numbers{3});
  CHECK(store->catalogue().version("img", 3).state == "retired");
  CHECK(get(*live) == 'c');
  CHECK(error_of([&] { connect("img:3@third"); }).code() == ENOENT);
  CHECK(get(*connect("img@keeper")) == 'c');
  store->end_session("keeper", false);
  check_all();
  live.reset();
  open("boot-1");
  live = connect("img@other");
  CHECK(get(*live) == 'c');
  SUBCASE("live") {
    store->end_session("keeper", true);
    CHECK(versions() == Numbers{1, 3, 4});
    live.reset();
    store->end_session("other", false);
  }
  SUBCASE("at rest") {
    live.reset();
    store->end_session("other", false);
    CHECK(versions() == Numbers{1, 3, 4});
    store->end_session("keeper", true);
  }
  CHECK(versions() == Numbers{1, 4});
  CHECK(folders() == 1);
  check_all();
}

TEST_CASE_FIXTURE(UpkeepFixture, "a session that has written nothing keeps its merged version") {
  add_three();
  store->publish_version("img", 3);
  auto reader = connect("img@other");
  CHECK(get(*reader) == 'c');
  store->publish_version("img", 4);
  CHECK(store->merge_versions("img", 2, 4, {}).still_in_use == Numbers{3});
  CHECK(store->collect_garbage(false, false).versions.empty());
  CHECK(get(*reader) == 'c');
  put(*reader, 'o', 65536);
  CHECK(get(*reader, 65536) == 'o');
  reader.reset();
  store->end_session("other", false);
  CHECK(versions() == Numbers{1, 4});
}

TEST_CASE_FIXTURE(UpkeepFixture, "what a crash left of a merge goes when the store is opened") {
  add_three();
  // As the merge's own transaction leaves it.
  store->catalogue().merge_layers("img", {}, std::nullopt, {2});
  CHECK(store->collect_garbage(true, false).versions.size() == 1);
  open("boot-1");
  CHECK(versions() == Numbers{1, 3, 4});
  CHECK(folders() == 3);
}

TEST_CASE_FIXTURE(UpkeepFixture, "a merge that comes to no end leaves nothing behind") {
  for (unsigned i = 1; i <= 3; ++i) add_version(i, static_cast<char>('a' + i), i * 65536);
  store->publish_version("img", 4);
  const auto data = layer_of(4) / Layer::data_name;
  const std::uint64_t before = allocated_in(data);
  SUBCASE("it fails") {
    const auto give_up = [](std::uint64_t, std::uint64_t) { throw Error(ECANCELED, "enough"); };
    CHECK(error_of([&] { store->merge_versions("img", 2, 4, give_up); }).code() == ECANCELED);
  }
  SUBCASE("it can't be recorded") {
    const auto change = [&](std::uint64_t, std::uint64_t) {
      store->catalogue().test_version("img", 3, {"other"});
    };
    CHECK(error_of([&] { store->merge_versions("img", 2, 4, change); }).code() == EAGAIN);
    store->catalogue().test_version("img", 3, {});
  }
  SUBCASE("the server is killed") {
    const std::string copied(4096, 'b');
    File::open(data, O_RDWR).write(copied.data(), copied.size(), 65536);
    CHECK(store->collect_garbage(true, false).freed == 4096);
    CHECK(allocated_in(data) > before);
    // Not while somebody works on the image's versions.
    store->merge_versions("img", 2, 3, [&](std::uint64_t, std::uint64_t) {
      CHECK(store->collect_garbage(false, false).freed == 0);
    });
    CHECK(store->collect_garbage(false, false).freed == 4096);
    CHECK(store->collect_garbage(false, false).freed == 0);
  }
  File::open(data, O_RDWR).sync();
  CHECK(allocated_in(data) == before);
  CHECK(folders() == store->layers().size());
  check_all();
  CHECK(first_byte(store->view_version("img", 4), 65536) == 'b');
}

TEST_CASE_FIXTURE(UpkeepFixture, "what of a captured disk is left after it was adopted goes") {
  const auto captures = path() / "captures";
  std::filesystem::create_directories(captures / "new");
  std::ofstream(captures / "new" / "disk") << std::string(1 << 20, 'n');
  std::ofstream(captures / "new" / "log") << "a line";
  Store::NewImage image;
  image.name = "new";
  store->adopt_image(image, {});
  CHECK(std::filesystem::is_empty(captures));
  CHECK(first_byte(store->view_version("new", 1)) == 'n');
  // Interrupted with the disk's first name gone, and before that.
  std::filesystem::create_directories(captures / ".adopted-1234");
  std::filesystem::create_directories(captures / "new");
  std::filesystem::create_hard_link(path() / "images" / "new" / "disk", captures / "new" / "disk");
  std::filesystem::create_directories(captures / "unfinished");
  CHECK(store->collect_garbage(true, false).unknown.size() == 2);
  open("boot-1");
  CHECK(store->collect_garbage(true, false).unknown ==
        std::vector<std::string>{"captures/unfinished"});
  CHECK(first_byte(store->view_version("new", 1)) == 'n');
}

TEST_CASE_FIXTURE(UpkeepFixture, "gc removes what nobody knows if it is told to") {
  add_version(1, 'a');
  const auto strange = path() / "layers" / "strange";
  std::filesystem::create_directories(strange);
  CHECK(store->check({}).faults.empty());
  CHECK(store->collect_garbage(false, false).unknown == std::vector<std::string>{"layers/strange"});
  CHECK(store->collect_garbage(true, true).folders == std::vector<std::string>{"layers/strange"});
  CHECK(std::filesystem::exists(strange));
  CHECK(store->collect_garbage(false, true).folders.size() == 1);
  CHECK_FALSE(std::filesystem::exists(strange));
  CHECK(folders() == 1);
  check_all();
}

TEST_CASE_FIXTURE(UpkeepFixture, "check tells of a layer that is damaged or gone") {
  add_version(1, 'a');
  const auto folder = layer_of(2);
  const auto faults = [&] {
    open("boot-1");
    return store->check({}).faults;
  };
  CHECK(faults().empty());
  std::filesystem::rename(folder / "data", folder / "away");
  CHECK_FALSE(faults().empty());
  std::filesystem::rename(folder / "away", folder / "data");
  CHECK(faults().empty());
  File::open(folder / "index.sqlite", O_RDWR).write("garbage", 7, 0);
  CHECK(mentions(Error(0, faults().at(0)), folder.filename()));
}

TEST_CASE_FIXTURE(UpkeepFixture,
                  "verbs on one image wait for no other, but say that there is one") {
  add_three();
  unsigned times = 0;
  const auto meet = [&](const std::string& image) {
    ++times;
    for (const Error& error : {error_of([&] { store->verify_version(image, 1, {}); }),
                               error_of([&] { store->discard_version(image, 0); }),
                               error_of([&] { store->open_version(image, "pc", 0, ""); }),
                               error_of([&] { store->remove_image(image); })})
      CHECK(error.code() == EBUSY);
  };
  store->merge_versions("img", 2, 4, [&](std::uint64_t, std::uint64_t) { meet("img"); });
  ChunkHashes::remove(layer_of(4));
  store->verify_version("img", 4, [&](std::uint64_t, std::uint64_t) { meet("img"); });
  // Also while it is made: its hashes are.
  store->create_image(copied(), [&](std::uint64_t, std::uint64_t) { meet("copied"); });
  CHECK(times >= 3);
  CHECK(store->verify_version("copied", 1, {}).added == 0);
  check_all();
}
