#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fstream>

#include "control/client.hpp"
#include "control/protocol.hpp"
#include "control/server.hpp"
#include "fake_store.hpp"

namespace plydisk {

using nlohmann::json;
using test::error_of;
using test::FakeStore;
using test::mentions;

namespace {

struct ServerFixture {
  explicit ServerFixture(const std::string& below = "") : store(below) {}
  ControlClient client() {
    auto connected = ControlClient::connect(store.directory());
    REQUIRE(connected);
    return std::move(*connected);
  }

  FakeStore store;
  ControlService service{store, ControlService::Role::server};
  std::optional<ControlServer> server{std::in_place, service};
};

// A peer that sends what it likes.
class RawPeer {
 public:
  explicit RawPeer(const std::filesystem::path& store)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const ControlAddress address(store);
    if (::connect(socket_.get(), address.address(), address.length()) != 0)
      throw_errno("cannot connect");
  }
  void send(std::string_view bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
      const ssize_t n =
          ::send(socket_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n < 0) throw_errno("cannot send");
      sent += static_cast<std::size_t>(n);
    }
  }
  void end_sending() { ::shutdown(socket_.get(), SHUT_WR); }
  // Empty at the end.
  std::string line() {
    std::string line;
    char c = 0;
    while (::recv(socket_.get(), &c, 1, 0) == 1 && c != '\n') line += c;
    return line;
  }
  json answer() { return json::parse(line(), nullptr, false); }
  json ask(std::string_view bytes) {
    send(bytes);
    send("\n");
    return answer();
  }

 private:
  UniqueFd socket_;
};

constexpr const char* status_request = R"({"jsonrpc":"2.0","id":7,"method":"status"})";

}  // namespace

TEST_CASE("control: a call and its answer") {
  ServerFixture f;
  ControlClient client = f.client();
  CHECK(client.call("image.create", {{"name", "debian"}, {"size", 512}})["name"] == "debian");
  CHECK(client.call("image.list", json::object()).size() == 1);
  const Error error = error_of([&] { client.call("image.show", {{"name", "debain"}}); });
  CHECK(error.code() == ENOENT);
  CHECK(mentions(error, "did you mean \"debian\"?"));
  const Error usage = error_of([&] { client.call("image.show", {{"nmae", "debian"}}); });
  CHECK(usage.code() == EINVAL);
  CHECK(mentions(usage, "\"nmae\""));
  CHECK(error_of([&] { client.call("nothing", json::object()); }).code() == ENOSYS);
}

TEST_CASE("control: the errors of JSON-RPC") {
  ServerFixture f;
  RawPeer peer(f.store.directory());
  const auto code_of = [&](std::string_view request) {
    const json answer = peer.ask(request);
    CHECK(answer["jsonrpc"] == "2.0");
    CHECK(answer["error"]["message"].is_string());
    return answer["error"].value("code", 0);
  };
  CHECK(code_of("garbage") == -32700);
  CHECK(code_of("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sta") == -32700);
  CHECK(code_of("\xff\xfe\x00\x01") == -32700);
  CHECK(code_of("{\"a\":\"\xc3\x28\"}") == -32700);
  CHECK(code_of("[]") == -32600);
  CHECK(code_of("7") == -32600);
  CHECK(code_of("null") == -32600);
  CHECK(code_of("{}") == -32600);
  CHECK(code_of(R"({"jsonrpc":"1.0","id":1,"method":"status"})") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1})") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":7})") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":{},"method":"status"})") == -32600);
  CHECK(code_of(R"([{"jsonrpc":"2.0","id":1,"method":"status"}])") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"nothing"})") == -32601);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"status","params":[1]})") == -32602);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"image.show","params":{}})") == -32602);

  const json failed =
      peer.ask(R"({"jsonrpc":"2.0","id":"a","method":"image.show","params":{"name":"x"}})");
  CHECK(failed["id"] == "a");
  CHECK(failed["error"]["code"] == -32000);
  CHECK(failed["error"]["data"] == json{{"errno", ENOENT}, {"name", "ENOENT"}});

  // After all that it still answers.
  CHECK(peer.ask(status_request)["id"] == 7);
}

TEST_CASE("control: lines that are too long, too deep, empty or half") {
  ServerFixture f;
  {
    RawPeer peer(f.store.directory());
    peer.send(std::string(3 << 20, 'x') + "\n" + status_request + "\n");
    CHECK(peer.answer()["error"]["code"] == -32600);
    CHECK(peer.answer()["id"] == 7);
  }
  {
    // Exactly the limit is taken.
    RawPeer peer(f.store.directory());
    std::string request = status_request;
    request += std::string(longest_request - request.size(), ' ');
    CHECK(peer.ask(request)["id"] == 7);
    CHECK(peer.ask(request + " ")["error"]["code"] == -32600);
  }
  {
    RawPeer peer(f.store.directory());
    const std::string deep(500'000, '[');
    CHECK(peer.ask(deep)["error"]["code"] == -32700);
    CHECK(peer.ask(deep + std::string(500'000, ']'))["error"]["code"] == -32600);
    CHECK(peer.ask(R"({"jsonrpc":"2.0","id":1,"method":"image.show","params":{"name":)" + deep +
                   std::string(500'000, ']') + "}}")["error"]["code"] == -32602);
  }
  {
    RawPeer peer(f.store.directory());
    peer.send("\n \t\r\n");
    CHECK(peer.ask(status_request)["id"] == 7);
    peer.send(std::string_view(status_request).substr(0, 20));
    peer.end_sending();
    CHECK(peer.answer()["error"]["code"] == -32700);
    CHECK(peer.line().empty());
  }
  {
    // In pieces, and several at once.
    RawPeer peer(f.store.directory());
    for (const char* c = status_request; *c != 0; ++c) peer.send(std::string_view(c, 1));
    peer.send("\n");
    CHECK(peer.answer()["id"] == 7);
    peer.send(std::string(status_request) + "\n" + status_request + "\n");
    CHECK(peer.answer()["id"] == 7);
    CHECK(peer.answer()["id"] == 7);
  }
}

TEST_CASE("control: a request without an id is carried out and not answered") {
  ServerFixture f;
  RawPeer peer(f.store.directory());
  peer.send(
      R"({"jsonrpc":"2.0","method":"param.set","params":{"name":"session-grace","value":"99"}})"
      "\n");
  peer.send(R"({"jsonrpc":"2.0","method":"image.show","params":{"name":"x"}})"
            "\n");
  CHECK(peer.ask(status_request)["id"] == 7);
  CHECK(f.store.catalogue().parameter("session-grace") == "99");
}

TEST_CASE("control: progress comes before the answer, ten times a second at most") {
  ServerFixture f;
  f.store.create_steps = 60;
  f.store.step_time = std::chrono::milliseconds(10);
  ControlClient client = f.client();
  std::vector<std::uint64_t> seen;
  client.call("image.create", {{"name", "x"}, {"size", 1 << 20}},
              [&](std::uint64_t done, std::uint64_t total) {
                CHECK(total == 1 << 20);
                seen.push_back(done);
              });
  CHECK(seen.size() >= 2);
  CHECK(seen.size() <= 60 / 2);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("control: work of a client that is gone is cancelled") {
  ServerFixture f;
  f.store.create_steps = 60'000;
  f.store.step_time = std::chrono::milliseconds(1);
  {
    RawPeer peer(f.store.directory());
    peer.send(R"({"jsonrpc":"2.0","id":1,"method":"image.create","params":{"name":"x","size":512}})"
              "\n");
    CHECK(peer.answer()["method"] == "progress");
  }
  for (int tries = 0; f.store.cancelled_with == 0 && tries < 1000; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(f.store.cancelled_with == ECANCELED);
  CHECK(f.store.catalogue().images().empty());
}

TEST_CASE("control: many clients at once, and one too many") {
  ServerFixture f;
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 0; t < 32; ++t)
    threads.emplace_back([&] {
      auto client = ControlClient::connect(f.store.directory());
      for (int i = 0; client && i < 20; ++i) {
        client->call("status", json::object());
        ++answered;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(answered == 32 * 20);

  // The threads of those who left are joined as others come.
  std::vector<RawPeer> peers;
  for (int tries = 0; peers.size() < ControlServer::most_clients && tries < 1000; ++tries) {
    RawPeer peer(f.store.directory());
    if (peer.ask(status_request).contains("result")) peers.push_back(std::move(peer));
  }
  REQUIRE(peers.size() == ControlServer::most_clients);
  ControlClient refused = f.client();
  const Error error = error_of([&] { refused.call("status", json::object()); });
  CHECK(error.code() == EBUSY);
  CHECK(mentions(error, "try again"));
  peers.clear();
  int tries = 0;
  const auto works = [&] {
    ControlClient client = f.client();
    return error_of([&] { client.call("status", json::object()); }).code() == 0;
  };
  while (!works() && ++tries < 1000) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(tries < 1000);
}

TEST_CASE("control: stops under load, promptly") {
  ServerFixture f;
  f.store.create_steps = 60'000;
  f.store.step_time = std::chrono::milliseconds(1);
  RawPeer idle(f.store.directory());
  RawPeer half(f.store.directory());
  half.send("{\"jsonrpc\"");
  // Sends and never reads.
  RawPeer deaf(f.store.directory());
  std::thread flood([&] {
    std::string requests;
    for (int i = 0; i < 100; ++i)
      requests += R"({"jsonrpc":"2.0","id":1,"method":"param.list"})"
                  "\n";
    try {
      for (;;) deaf.send(requests);
    } catch (const Error&) {
    }
  });
  std::thread waiting([&] {
    ControlClient client = f.client();
    const Error error = error_of([&] {
      client.call("image.create", {{"name", "x"}, {"size", 512}});
    });
    CHECK((error.code() == ESHUTDOWN || error.code() == ECONNRESET));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto began = std::chrono::steady_clock::now();
  f.server->stop();
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(2));
  waiting.join();
  flood.join();
  CHECK(f.store.cancelled_with == ESHUTDOWN);
  CHECK(idle.line().empty());
  CHECK_FALSE(std::filesystem::exists(f.store.directory() / "control"));
  CHECK_FALSE(ControlClient::connect(f.store.directory()));
  f.server->stop();
}

TEST_CASE("control: the socket is its owner's, and a stale one is replaced") {
  ServerFixture f;
  const std::filesystem::path path = f.store.directory() / "control";
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0600);
  CHECK(error_of([&] { ControlServer second(f.service); }).code() == EBUSY);
  f.server.reset();
  CHECK_FALSE(std::filesystem::exists(path));

  {
    // As a server that was killed leaves it.
    const ControlAddress address(f.store.directory());
    const UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(stale.get(), address.address(), address.length()) == 0);
  }
  CHECK_FALSE(ControlClient::connect(f.store.directory()));
  f.server.emplace(f.service);
  CHECK(f.client().call("status", json::object())["serving"] == true);
  f.server.reset();

  std::ofstream(path) << "not a socket";
  const Error error = error_of([&] { f.server.emplace(f.service); });
  CHECK(error.code() == EEXIST);
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("control: a path that is too long for a socket's address") {
  ServerFixture f(std::string(80, 'a') + "/" + std::string(80, 'b'));
  CHECK(f.client().call("status", json::object())["serving"] == true);
  CHECK(std::filesystem::exists(f.store.directory() / "control"));
  f.server.reset();
  CHECK_FALSE(std::filesystem::exists(f.store.directory() / "control"));
}

TEST_CASE("control: a server that goes away is told apart from an answer") {
  test::TemporaryDirectory directory;
  const ControlAddress address(directory.path());
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(listener.get(), address.address(), address.length()) == 0);
  REQUIRE(::listen(listener.get(), 4) == 0);
  for (const std::string answer : {"", "garbage\n", "[]\n", "{\"id\":1}\n",
                                   "{\"method\":\"progress\"}\n", "{\"error\":7}\n"}) {
    auto client = ControlClient::connect(directory.path());
    REQUIRE(client);
    UniqueFd served(::accept(listener.get(), nullptr, nullptr));
    REQUIRE(::send(served.get(), answer.data(), answer.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(answer.size()));
    ::shutdown(served.get(), SHUT_WR);
    const int code = error_of([&] { client->call("status", json::object()); }).code();
    CHECK_MESSAGE(code == (answer.empty() ? ECONNRESET : EPROTO), answer);
  }
}

}  // namespace plydisk
