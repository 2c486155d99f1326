// Versions of an image: opened for a station, written, closed, published, discarded; and who is
// refused.
#include "version_fixture.hpp"

using namespace plydisk;
using plydisk::test::error_of;
using plydisk::test::first_byte;
using plydisk::test::get;
using plydisk::test::mentions;
using plydisk::test::put;
using plydisk::test::VersionFixture;

TEST_CASE_FIXTURE(VersionFixture, "a version is written by its station, closed and published") {
  const VersionRecord opened = store->open_version("img", "pc", 0, "new office");
  CHECK(opened.number == 2);
  CHECK(opened.state == "open");
  CHECK(opened.base == 1);
  CHECK(opened.comment == "new office");
  write("pc", 'a');
  CHECK(get(*connect("img@other")) == 0);
  const VersionRecord closed = store->close_version("img", 0, {});
  CHECK(closed.state == "frozen");
  CHECK(closed.layers.size() == 1);
  CHECK(store->catalogue().session_of("pc", "img") == std::nullopt);

  // Those that run are not disturbed.
  const auto running = connect("img@other");
  store->publish_version("img", 0);
  CHECK(get(*running) == 0);
  CHECK(get(*connect("img@pc")) == 'a');
  CHECK(get(*connect("img@third")) == 'a');
  CHECK(first_byte(store->view_version("img", 1)) == 0);
  CHECK(store->publish_version("img", 1).state == "published");
  CHECK(get(*connect("img@fourth")) == 0);
  check_all();
}

TEST_CASE_FIXTURE(VersionFixture, "one layer becomes the version's as it is, several are folded") {
  store->open_version("img", "pc", 0, "");
  write("pc", 'a');
  const std::string layer = store->session("pc").layers.front();
  CHECK(store->close_version("img", 2, {}).layers == std::vector{layer});

  store->open_version("img", "pc", 2, "");
  write("pc", 'b', 65536);
  {
    const DiskView keeps_it_as_it_is = store->view_session("pc");
    write("pc", 'c', 131072);
    write("pc", 'd', 65536 + 4096);
  }
  const auto layers = store->session("pc").layers;
  CHECK(layers.size() == 2);
  const VersionRecord folded = store->close_version("img", 3, {});
  REQUIRE(folded.layers.size() == 2);
  CHECK(folded.layers[0] == layer);
  for (const std::string& gone : layers) {
    CHECK(folded.layers[1] != gone);
    CHECK_FALSE(std::filesystem::exists(path() / "layers" / gone));
  }
  const DiskView view = store->view_version("img", 3);
  CHECK(first_byte(view) == 'a');
  CHECK(first_byte(view, 65536) == 'b');
  CHECK(first_byte(view, 65536 + 4096) == 'd');
  CHECK(first_byte(view, 131072) == 'c');
  check_all();
}

TEST_CASE_FIXTURE(VersionFixture,
                  "an open version is no disk without what its station has written") {
  store->open_version("img", "pc", 0, "");
  write("pc", 'a');
  for (const Error& error : {error_of([&] { store->view_version("img", 2); }),
                             error_of([&] { store->verify_version("img", 2, {}); }),
                             error_of([&] { store->compare_versions("img", 1, 2, {}); })}) {
    CHECK(error.code() == EBUSY);
    CHECK(mentions(error, "plydisk version close img"));
    CHECK(mentions(error, "session img@pc"));
  }
  CHECK(first_byte(store->view_session("img@pc")) == 'a');
}

TEST_CASE_FIXTURE(VersionFixture, "a version is closed while somebody looks at what it will be") {
  store->open_version("img", "pc", 0, "");
  write("pc", 'a');
  const std::string layer = store->session("pc").layers.front();
  const DiskView view = store->view_session("pc");
  CHECK(store->close_version("img", 2, {}).layers.front() != layer);
  CHECK(first_byte(view) == 'a');
  CHECK(first_byte(store->view_version("img", 2)) == 'a');
}

TEST_CASE_FIXTURE(VersionFixture, "what a version's station writes is kept, whatever its plan") {
  store->open_version("img", "pc", 0, "");
  {
    const auto connection = connect("img@pc");
    put(*connection, 'a');
    CHECK(store->session("pc").persistent);
    CHECK(store->session("pc").record.writes == Destination::server_persistent);
    CHECK(error_of([&] { store->redirect("pc", Destination::direct, {}, {}); }).code() == EBUSY);
    // What is not to be a part of it.
    store->redirect("pc", Destination::server_volatile, {}, {});
    put(*connection, 'b');
  }
  store->end_session("pc", false);
  store->close_version("img", 2, {});
  CHECK(first_byte(store->view_version("img", 2)) == 'a');
}

TEST_CASE_FIXTURE(VersionFixture, "a reboot of the server keeps what was written to a version") {
  store->open_version("img", "pc", 0, "");
  {
    const auto connection = connect("img@pc");
    put(*connection, 'a');
    connection->disk().flush();
  }
  open("boot-2");
  CHECK(store->close_version("img", 2, {}).state == "frozen");
  CHECK(first_byte(store->view_version("img", 2)) == 'a');
}

TEST_CASE_FIXTURE(VersionFixture, "what can't be opened") {
  CHECK(error_of([&] { store->open_version("img", "nobody", 0, ""); }).code() == ENOENT);
  CHECK(error_of([&] { store->open_version("img", "pc", 2, ""); }).code() == ENOENT);
  CHECK(error_of([&] { store->open_version("imag", "pc", 0, ""); }).code() == ENOENT);
  add_station("keeper", Destination::server_persistent);
  write("keeper", 'k');
  const Error keeps = error_of([&] { store->open_version("img", "keeper", 0, ""); });
  CHECK(keeps.code() == EBUSY);
  CHECK(mentions(keeps, "keeper"));
  store->open_version("img", "pc", 0, "");
  CHECK(mentions(error_of([&] { store->open_version("img", "other", 0, ""); }), "pc"));
  CHECK(error_of([&] { store->open_version("img", "other", 2, ""); }).code() == EINVAL);
}

TEST_CASE_FIXTURE(VersionFixture, "what can't be closed") {
  CHECK(error_of([&] { store->close_version("img", 0, {}); }).code() == EINVAL);
  CHECK(error_of([&] { store->close_version("img", 1, {}); }).code() == EINVAL);
  CHECK(error_of([&] { store->close_version("img", 7, {}); }).code() == ENOENT);
  store->open_version("img", "pc", 0, "");
  const Error unwritten = error_of([&] { store->close_version("img", 0, {}); });
  CHECK(unwritten.code() == EINVAL);
  CHECK(mentions(unwritten, "discard"));
  const auto connection = connect("img@pc");
  put(*connection, 'a');
  CHECK(error_of([&] { store->close_version("img", 0, {}); }).code() == EBUSY);
}

TEST_CASE_FIXTURE(VersionFixture,
                  "an open version is for its station alone, and no base of others") {
  store->open_version("img", "pc", 0, "");
  CHECK(error_of([&] { connect("img:2@other"); }).code() == EBUSY);
  write("pc", 'a');
  CHECK(error_of([&] { store->freeze_version("img", "pc", {}); }).code() == EINVAL);
  CHECK(error_of([&] { store->publish_version("img", 2); }).code() == EBUSY);
  CHECK(error_of([&] { store->test_version("img", 2, {"other"}); }).code() == EBUSY);
  CHECK(error_of([&] { store->merge_versions("img", 1, 2, {}); }).code() == EINVAL);
}

TEST_CASE_FIXTURE(VersionFixture, "nobody writes directly below an open version") {
  add_station("boss", Destination::direct);
  store->open_version("img", "pc", 0, "");
  const Error refusal = error_of([&] { connect("img@boss"); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "version 2"));
  store->discard_version("img", 0);
  const auto direct = connect("img@boss");
  put(*direct, 'd');
  CHECK(error_of([&] { store->open_version("img", "pc", 0, ""); }).code() == EBUSY);
}

TEST_CASE_FIXTURE(VersionFixture, "testers get a version before it is published") {
  add_version(1, 'a');
  store->test_version("img", 2, {"other"});
  CHECK(get(*connect("img@other")) == 'a');
  CHECK(get(*connect("img@third")) == 0);
  store->end_session("other", false);
  store->test_version("img", 2, {});
  CHECK(get(*connect("img@other")) == 0);
}

TEST_CASE_FIXTURE(VersionFixture, "a session says what its station gets next") {
  add_station("keeper", Destination::server_persistent);
  add_version(1, 'a');
  const auto passing = connect("img@other"), keeping = connect("img@keeper");
  put(*passing, 'o');
  put(*keeping, 'k');
  for (const char* station : {"other", "keeper"}) {
    CHECK(store->session(station).next_version == 1);
    CHECK_FALSE(store->session(station).is_stale);
  }
  store->publish_version("img", 2);
  CHECK(store->session("other").next_version == 2);
  CHECK_FALSE(store->session("other").is_stale);
  CHECK(store->session("keeper").is_stale);
  store->end_session("keeper", false);
  CHECK(store->session("keeper").is_stale);
  // What it kept lies on the version on which it was written.
  CHECK(get(*connect("img@keeper"), 65536) == 0);
}

TEST_CASE_FIXTURE(VersionFixture, "versions are discarded, open ones with what was written") {
  store->open_version("img", "pc", 0, "");
  write("pc", 'a');
  store->discard_version("img", 0);
  CHECK(store->catalogue().versions("img").size() == 1);
  CHECK(store->layers().empty());
  CHECK(std::filesystem::is_empty(path() / "layers"));

  add_version(1, 'b');
  CHECK(error_of([&] { store->discard_version("img", 1); }).code() == EBUSY);
  CHECK(error_of([&] { store->discard_version("img", 0); }).code() == EINVAL);
  auto reader = connect("img:3@other");
  const Error refusal = error_of([&] { store->discard_version("img", 3); });
  CHECK(refusal.code() == EBUSY);
  CHECK(mentions(refusal, "other"));
  reader.reset();
  store->end_session("other", false);
  store->discard_version("img", 3);
  CHECK(std::filesystem::is_empty(path() / "layers"));
}
