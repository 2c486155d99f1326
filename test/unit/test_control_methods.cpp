#include "base/uuid.hpp"
#include "control/protocol.hpp"
#include "control/service.hpp"
#include "fake_store.hpp"
#include "store/parameters.hpp"

namespace plydisk {

using nlohmann::json;
using test::error_of;
using test::mentions;

namespace {

struct MethodsFixture {
  json call(const std::string& method, const json& params = json::object()) {
    return service.call(method, params);
  }
  // The JSON-RPC code and the sentence of a refusal.
  std::pair<int, std::string> refusal(const std::string& method, const json& params) {
    try {
      service.call(method, params);
    } catch (const RpcError& error) {
      return {error.rpc_code(), error.what()};
    } catch (const Error& error) {
      return {rpc_code::failed, error.what()};
    }
    return {0, ""};
  }
  std::string add_session() {
    call("image.create", {{"name", "debian"}, {"size", 1 << 20}});
    SessionRecord session;
    session.id = "s1";
    session.station = "pc07";
    session.image = "debian";
    session.peer = "10.0.0.7";
    session.started = 1738324800;
    LayerRecord layer;
    layer.uuid = random_uuid();
    layer.image = "debian";
    layer.session = "s1";
    layer.kind = "data";
    layer.state = "writing";
    layer.size = 1 << 20;
    store.catalogue().save_session(session, {layer}, {{1738324800, "started", "from 10.0.0.7"}});
    return layer.uuid;
  }

  test::FakeStore store;
  ControlService service{store, ControlService::Role::server};
};

}  // namespace

TEST_CASE("methods: images") {
  MethodsFixture f;
  const json made = f.call(
      "image.create", {{"name", "debian"}, {"size", 10737418240}, {"description", "Debian 12"}});
  CHECK(made["name"] == "debian");
  CHECK(made["size"] == 10737418240);
  CHECK(made["description"] == "Debian 12");
  CHECK(made["linked"] == false);
  CHECK(made["writes"].is_null());
  CHECK(made["created"] == "2025-01-31T12:00:00Z");
  CHECK(made["state"] == "ok");
  CHECK(made["allocated"] == 8192);
  CHECK(made["sessions"] == 0);
  CHECK(made["published"] == 1);
  CHECK(made["versions"] == json::array({{{"image", "debian"},
                                          {"number", 1},
                                          {"state", "published"},
                                          {"base", nullptr},
                                          {"station", nullptr},
                                          {"testers", json::array()},
                                          {"comment", ""},
                                          {"allocated", 8192},
                                          {"created", "2025-01-31T12:00:00Z"},
                                          {"layers", json::array()}}}));
  CHECK(f.call("image.show", {{"name", "debian"}}) == made);
  CHECK(f.call("image.list") == json::array({made}));
  CHECK(f.call("image.accept", {{"name", "debian"}}) == made);
  const json set = f.call("image.set", {{"name", "debian"}, {"writes", "server-persistent"}});
  CHECK(set["writes"] == "server-persistent");
  CHECK(set["description"] == "Debian 12");
  CHECK(made["changed"] == made["created"]);
  CHECK(set["changed"] > made["created"]);
  json cleared = f.call("image.set", {{"name", "debian"}, {"writes", nullptr}});
  cleared["changed"] = made["changed"];
  CHECK(cleared == made);
  CHECK(error_of([&] {
          f.call("image.set", {{"name", "debian"}, {"writes", "here"}});
        }).code() == EINVAL);
  CHECK(f.call("image.show", {{"name", "debian"}})["writes"].is_null());
  const json linked =
      f.call("image.create", {{"name", "cd"}, {"from", "/dev/sr0"}, {"link", true}});
  CHECK(linked["backing"] == "/dev/sr0");
  CHECK(linked["linked"] == true);
  CHECK(f.call("image.remove", {{"name", "cd"}}) == json{{"name", "cd"}});
  CHECK(error_of([&] { f.call("image.show", {{"name", "cd"}}); }).code() == ENOENT);
}

TEST_CASE("methods: the comment of a version") {
  MethodsFixture f;
  f.call("image.create", {{"name", "debian"}, {"size", 512}});
  const json version{{"image", "debian"}, {"number", 1}};
  json comment = version;
  comment["comment"] = "office";
  CHECK(f.call("version.set", comment)["comment"] == "office");
  CHECK(f.call("version.set", version)["comment"] == "office");
  comment["comment"] = nullptr;
  CHECK(f.call("version.set", comment)["comment"] == "");
  CHECK(f.refusal("version.set", {{"image", "debian"}}).second.find("\"number\"") !=
        std::string::npos);
}

TEST_CASE("methods: wrong params are refused, and the sentence names the field") {
  MethodsFixture f;
  const auto refused = [&](const std::string& method, const json& params,
                           const std::string& field) {
    const auto refusal = f.refusal(method, params);
    const std::string& sentence = refusal.second;
    INFO(sentence);
    CHECK(refusal.first == rpc_code::invalid_params);
    CHECK(sentence.find(field) != std::string::npos);
    CHECK(sentence.find(method) != std::string::npos);
  };
  refused("image.create", {{"size", 512}}, "\"name\"");
  refused("image.create", {{"name", 7}, {"size", 512}}, "\"name\"");
  refused("image.create", {{"name", nullptr}, {"size", 512}}, "\"name\"");
  refused("image.create", {{"name", std::string("a\0b", 3)}, {"size", 512}}, "\"name\"");
  refused("image.create", {{"name", "x"}}, "\"size\"");
  refused("image.create", {{"name", "x"}, {"size", 512}, {"from", "/x"}}, "\"from\"");
  refused("image.create", {{"name", "x"}, {"size", "10G"}}, "\"size\"");
  refused("image.create", {{"name", "x"}, {"size", -512}}, "\"size\"");
  refused("image.create", {{"name", "x"}, {"size", 512.5}}, "\"size\"");
  refused("image.create", {{"name", "x"}, {"size", 1e300}}, "\"size\"");
  refused("image.create", {{"name", "x"}, {"size", 512}, {"link", true}}, "\"link\"");
  refused("image.create", {{"name", "x"}, {"from", "/x"}, {"link", "yes"}}, "\"link\"");
  refused("image.create", {{"name", "x"}, {"from", "relative"}}, "\"from\"");
  refused("image.create", {{"name", "x"}, {"size", 512}, {"lnik", true}}, "\"lnik\"");
  refused("image.create", {{"name", "x"}, {"size", 512}, {"lnik", true}}, "did you mean \"link\"?");
  refused("image.list", {{"x", 1}}, "\"x\"");
  refused("image.list", json::array(), "params");
  refused("image.list", nullptr, "params");
  refused("station.add", {{"name", "x"}, {"allow", "10.0.0.0/8"}}, "\"allow\"");
  refused("station.add", {{"name", "x"}, {"allow", {1}}}, "\"allow\"");
  refused("session.end", {{"session", "x"}, {"discard", 1}}, "\"discard\"");
  refused("param.set", {{"name", "session-grace"}}, "\"value\"");
  CHECK(f.refusal("image.destroy", json::object()).first == rpc_code::unknown_method);
  CHECK(f.refusal("image.lits", json::object()).second.find("image.list") != std::string::npos);
  CHECK(f.refusal("image.create", {{"name", "a/b"}, {"size", 512}}).first == rpc_code::failed);
  CHECK(f.call("image.list").empty());
}

TEST_CASE("methods: stations") {
  MethodsFixture f;
  f.call("image.create", {{"name", "debian"}, {"size", 512}});
  const json added = f.call("station.add", {{"name", "pc07"},
                                            {"image", "debian"},
                                            {"writes", "server-persistent"},
                                            {"allow", {"10.0.0.0/8"}},
                                            {"comment", "front desk"}});
  CHECK(added["image"] == "debian");
  CHECK(added["writes"] == "server-persistent");
  CHECK(added["persistence"] == "persistent");
  CHECK(added["allow"] == json::array({"10.0.0.0/8"}));
  CHECK(added["comment"] == "front desk");
  CHECK(f.call("station.list") == json::array({added}));

  // What is not named stays; null clears.
  const json changed =
      f.call("station.set", {{"name", "pc07"}, {"writes", nullptr}, {"allow", json::array()}});
  CHECK(changed["image"] == "debian");
  CHECK(changed["writes"].is_null());
  CHECK(changed["persistence"] == "volatile");
  CHECK(changed["allow"].empty());
  CHECK(changed["comment"] == "front desk");
  CHECK(f.call("station.show", {{"name", "pc07"}}) == changed);

  // Then its image and the parameter say.
  f.call("param.set", {{"name", "default-writes"}, {"value", "server-persistent"}});
  CHECK(f.call("station.show", {{"name", "pc07"}})["persistence"] == "persistent");

  const auto code_of = [&](const json& params) {
    return error_of([&] { f.call("station.set", params); }).code();
  };
  CHECK(code_of({{"name", "pc07"}, {"image", "arch"}}) == ENOENT);
  CHECK(code_of({{"name", "pc07"}, {"writes", "nowhere"}}) == EINVAL);
  CHECK(code_of({{"name", "pc07"}, {"allow", {"10.0.0.0/99"}}}) == EINVAL);
  CHECK(code_of({{"name", "pc99"}}) == ENOENT);
  CHECK(f.call("station.remove", {{"name", "pc07"}}) == json{{"name", "pc07"}});
  CHECK(f.call("station.list").empty());
}

TEST_CASE("methods: sessions and redirection") {
  MethodsFixture f;
  const std::string layer = f.add_session();
  const json shown = f.call("session.show", {{"session", "s1"}});
  CHECK(shown["id"] == "s1");
  CHECK(shown["station"] == "pc07");
  CHECK(shown["image"] == "debian");
  CHECK(shown["version"] == 1);
  CHECK(shown["peer"] == "10.0.0.7");
  CHECK(shown["started"] == "2025-01-31T12:00:00Z");
  CHECK(shown["ended"].is_null());
  CHECK(shown["state"] == "live");
  CHECK(shown["writes"] == "server-volatile");
  CHECK(shown["persistence"] == "volatile");
  CHECK(shown["layers"] == json::array({layer}));
  CHECK(shown["connections"] == 2);
  CHECK(shown["stats"]["bytes_read"] == 4096);
  CHECK(shown["history"][0]["event"] == "started");
  CHECK(f.call("session.list")[0]["id"] == "s1");

  const json result =
      f.call("redirect", {{"session", "s1"}, {"writes", "server-persistent"}, {"carry", true}});
  CHECK(result == json{{"session", "s1"},
                       {"from", "server-volatile"},
                       {"to", "server-persistent"},
                       {"pause_ms", 1.5},
                       {"carried", 65536},
                       {"survives", true}});
  CHECK(error_of([&] {
          f.call("redirect", {{"session", "s1"}, {"writes", "direct"}});
        }).code() == EBUSY);
  CHECK(error_of([&] { f.call("session.end", {{"session", "s1"}}); }).code() == EINVAL);
  CHECK(f.call("session.end", {{"session", "s1"}, {"discard", true}})["discarded"] == true);
  CHECK(f.call("session.list").empty());
}

TEST_CASE("methods: layers") {
  MethodsFixture f;
  const std::string uuid = f.add_session();
  const json layer = f.call("layer.show", {{"layer", uuid}});
  CHECK(layer["uuid"] == uuid);
  CHECK(layer["id"] == uuid);
  CHECK(layer["kind"] == "data");
  CHECK(layer["destination"] == "server-volatile");
  CHECK(layer["parent"].is_null());
  CHECK(layer["session"] == "s1");
  CHECK(layer["chunks"] == 3);
  CHECK(layer["index"] == "layers/" + uuid + "/index.sqlite");
  CHECK(f.call("layer.list") == json::array({layer}));
  CHECK(f.call("layer.check", {{"layer", uuid}})["sound"] == true);
  f.store.faults = {"the data file is too short"};
  const json check = f.call("layer.check", {{"layer", uuid}});
  CHECK(check["sound"] == false);
  CHECK(check["faults"] == json(f.store.faults));
  CHECK(error_of([&] { f.call("layer.show", {{"layer", "x"}}); }).code() == ENOENT);
}

TEST_CASE("methods: parameters and status") {
  MethodsFixture f;
  CHECK(f.call("param.list").size() == parameter_specs().size());
  const json grace = f.call("param.set", {{"name", "session-grace"}, {"value", "60"}});
  CHECK(grace["value"] == "60");
  CHECK(grace["default"] == "30");
  CHECK(grace["unit"] == "seconds");
  CHECK(f.call("param.get", {{"name", "session-grace"}}) == grace);
  CHECK(error_of([&] {
          f.call("param.set", {{"name", "session-grace"}, {"value", "x"}});
        }).code() == EINVAL);

  f.add_session();
  const json own{{"name", "multicast"}, {"image", "debian"}};
  CHECK(f.call("param.get", own)["value"] == "no");
  CHECK(f.call("param.get", own)["own"] == false);
  CHECK(f.call("param.list", {{"image", "debian"}}).size() == 11);
  const auto set_own = [&](const char* name, const json& value, const char* image) {
    return f.call("param.set", {{"name", name}, {"value", value}, {"image", image}});
  };
  CHECK(set_own("multicast", "auto", "debian")["value"] == "auto");
  CHECK(f.call("param.get", {{"name", "multicast"}})["value"] == "no");
  CHECK(f.store.catalogue().multicast_terms("debian").use == MulticastTerms::Use::automatic);
  CHECK(error_of([&] { set_own("multicast", "maybe", "debian"); }).code() == EINVAL);
  CHECK(error_of([&] { set_own("session-grace", "5", "debian"); }).code() == EINVAL);
  CHECK(error_of([&] { set_own("multicast", "yes", "arch"); }).code() == ENOENT);
  CHECK(set_own("multicast", nullptr, "debian")["value"] == "no");

  CHECK(f.call("multicast.status")["streams"].empty());
  CHECK(error_of([&] { f.call("multicast.join", {{"session", "s1"}}); }).code() == ENOTSUP);
  CHECK(f.call("session.show", {{"session", "s1"}})["multicast"].is_null());
  const json status = f.call("status");
  CHECK(status["serving"] == true);
  CHECK(status["images"] == 1);
  CHECK(status["stations"] == 0);
  CHECK(status["layers"] == 1);
  CHECK(status["sessions"] == json{{"live", 1}, {"waiting", 0}, {"at-rest", 0}});
  CHECK(status["connections"] == 2);
  CHECK(status["stats"]["bytes_read"] == 4096);
  CHECK(status["store"] == f.store.directory().string());
  ControlService in_process(f.store, ControlService::Role::command);
  CHECK(in_process.call("status", json::object())["serving"] == false);
}

}  // namespace plydisk
