#include "catalogue_fixture.hpp"

namespace plydisk {

using test::CatalogueFixture;
using test::error_of;
using test::layer_record;
using test::mentions;
using test::session_record;
using test::station_record;
using test::uuids;
TEST_CASE("catalogue: stations") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  StationRecord station = station_record("pc08");
  station.image = "debian";
  station.writes = Destination::client_ram;
  station.allow = {"10.0.0.0/8", "fd00::1"};
  station.comment = "by the window";
  catalogue.add_station(station);
  store.reopen();
  StationRecord read = store.catalogue->station("pc08");
  CHECK(read.image == "debian");
  CHECK(read.writes == Destination::client_ram);
  CHECK(read.allow == station.allow);
  CHECK(read.comment == station.comment);
  store.catalogue->change_station("pc08", [](StationRecord& changed) {
    changed.allow = {"::1"};
    changed.writes.reset();
    changed.image.reset();
  });
  read = store.catalogue->station("pc08");
  CHECK(read.allow == std::vector<std::string>{"::1"});
  CHECK_FALSE(read.writes);
  CHECK_FALSE(read.image);
  CHECK(store.catalogue->stations().size() == 2);

  CHECK(error_of([&] { store.catalogue->add_station(station_record("pc07")); }).code() == EEXIST);
  StationRecord bad = station_record("pc09");
  bad.image = "arch";
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == ENOENT);
  bad.image.reset();
  bad.allow = {"10.0.0.0/99"};
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == EINVAL);
  bad.allow = std::vector<std::string>(1000, "10.0.0.1");
  CHECK(error_of([&] { store.catalogue->add_station(bad); }).code() == EINVAL);
  CHECK(error_of([&] { store.catalogue->add_station(station_record("a/b")); }).code() == EINVAL);
  CHECK(error_of([&] { store.catalogue->change_station("pc10", [](StationRecord&) {}); }).code() ==
        ENOENT);
  CHECK(mentions(error_of([&] { store.catalogue->station("pc77"); }), "did you mean"));
}

TEST_CASE("catalogue: a station in use stays") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord session = session_record("s1", "pc07", "debian");
  const LayerRecord layer = layer_record("debian", "s1", 0);
  catalogue.save_session(session, {layer});
  CHECK(error_of([&] { catalogue.remove_station("pc07"); }).code() == EBUSY);
  session.ended = 2000;
  catalogue.save_session(session, {layer});
  const Error at_rest = error_of([&] { catalogue.remove_station("pc07"); });
  CHECK(at_rest.code() == EBUSY);
  CHECK(mentions(at_rest, "--discard"));
  catalogue.save_session(session, {});
  catalogue.remove_station("pc07");
  CHECK_FALSE(catalogue.find_station("pc07"));
  CHECK(catalogue.sessions().empty());
  CHECK(error_of([&] { catalogue.remove_station("pc07"); }).code() == ENOENT);
}

TEST_CASE("catalogue: sessions and their stacks") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord session = session_record("s1", "pc07", "debian");
  session.token = "boot-1";
  session.writes = Destination::server_persistent;
  LayerRecord bottom = layer_record("debian", "s1", 0);
  LayerRecord top = layer_record("debian", "s1", 1, bottom.uuid);
  top.kind = "pass";
  top.destination = Destination::direct;
  catalogue.save_session(session, {bottom, top}, {{1000, "started", "from unix"}});
  store.reopen();
  const auto read = store.catalogue->find_session("s1");
  REQUIRE(read);
  CHECK(read->token == "boot-1");
  CHECK(read->writes == Destination::server_persistent);
  CHECK(read->station == "pc07");
  CHECK(read->ended == 0);
  auto layers = store.catalogue->session_layers("s1");
  CHECK(uuids(layers) == std::vector{bottom.uuid, top.uuid});
  CHECK(layers[1].kind == "pass");
  CHECK(layers[1].destination == Destination::direct);
  CHECK(layers[1].parent == bottom.uuid);

  // The bottom is merged away: what is left moves down.
  top.position = 0;
  top.parent.clear();
  store.catalogue->save_session(session, {top}, {{1001, "carried", ""}});
  CHECK(uuids(store.catalogue->session_layers("s1")) == std::vector{top.uuid});
  CHECK_FALSE(store.catalogue->find_layer(bottom.uuid));
  const auto history = store.catalogue->history("s1");
  REQUIRE(history.size() == 2);
  CHECK(history[0].event == "started");
  CHECK(history[0].detail == "from unix");
  CHECK(history[1].at == 1001);

  store.catalogue->remove_session("s1");
  CHECK(store.catalogue->layers().empty());
  CHECK(store.catalogue->history("s1").empty());
  CHECK(error_of([&] { store.catalogue->remove_session("s1"); }).code() == ENOENT);
}

TEST_CASE("catalogue: the session of a station") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  SessionRecord old = session_record("old", "pc07", "debian");
  old.started = 500;
  old.ended = 900;
  catalogue.save_session(session_record("new", "pc07", "debian"), {});
  catalogue.save_session(old, {});
  catalogue.save_session(session_record("other", "pc99", "debian"), {});
  catalogue.save_session(session_record("anonymous", "", "debian"), {});
  CHECK(catalogue.session_of("pc07", "debian")->id == "new");
  CHECK(catalogue.session_of("pc99", "debian")->id == "other");
  CHECK_FALSE(catalogue.session_of("pc07", "arch"));
  CHECK(catalogue.sessions().size() == 4);
}

TEST_CASE("catalogue: sessions that are refused change nothing") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  const LayerRecord layer = layer_record("debian", "s1", 0);
  const SessionRecord session = session_record("s1", "pc07", "debian");
  catalogue.save_session(session, {layer}, {{1, "started", ""}});
  const auto refusal = [&](const SessionRecord& bad, const std::vector<LayerRecord>& layers) {
    return error_of([&] { catalogue.save_session(bad, layers, {{2, "changed", ""}}); }).code();
  };
  CHECK(refusal(session_record("s1", "pc07", "arch"), {}) == ENOENT);
  SessionRecord bad = session;
  bad.version = 7;
  CHECK(refusal(bad, {}) == ENOENT);
  bad = session;
  bad.station = "../x";
  CHECK(refusal(bad, {}) == EINVAL);
  bad = session;
  bad.token = "a b";
  CHECK(refusal(bad, {}) == EINVAL);
  CHECK(refusal(session_record("a/b", "pc07", "debian"), {}) == EINVAL);
  CHECK(refusal(session, {layer, layer_record("debian", "s1", 0)}) == EINVAL);
  CHECK(refusal(session, {layer_record("debian", "s2", 0)}) == EINVAL);
  CHECK(refusal(session, {layer_record("arch", "s1", 0)}) == EINVAL);
  LayerRecord odd = layer_record("debian", "s1", 0);
  odd.kind = "other";
  CHECK(refusal(session, {odd}) == EINVAL);
  odd = layer_record("debian", "s1", 0);
  odd.state = "lost";
  CHECK(refusal(session, {odd}) == EINVAL);
  LayerRecord taken = layer;
  taken.session = "s2";
  CHECK(refusal(session_record("s2", "pc07", "debian"), {taken}) == EEXIST);
  LayerRecord unsafe = layer_record("debian", "s1", 0);
  unsafe.uuid = "../../../../etc/passwd";
  CHECK(refusal(session, {unsafe}) != 0);

  CHECK(uuids(catalogue.session_layers("s1")) == std::vector{layer.uuid});
  CHECK(catalogue.history("s1").size() == 1);
  CHECK(catalogue.sessions().size() == 1);
}

TEST_CASE("catalogue: history is kept, the last thousand events") {
  CatalogueFixture store;
  Catalogue& catalogue = *store.catalogue;
  const SessionRecord session = session_record("s1", "pc07", "debian");
  const SessionRecord other = session_record("s2", "pc08", "debian");
  catalogue.save_session(other, {}, {{0, "started", ""}});
  std::vector<HistoryRecord> events;
  for (int at = 1; at <= 1200; ++at) events.push_back({at, "redirected", ""});
  catalogue.save_session(session, {}, events);
  const auto history = catalogue.history("s1");
  REQUIRE(history.size() == 1000);
  CHECK(history.front().at == 201);
  CHECK(history.back().at == 1200);
  CHECK(catalogue.history("s2").size() == 1);
}

}  // namespace plydisk
