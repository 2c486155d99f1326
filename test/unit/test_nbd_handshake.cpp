// Servers that are not there, or that say nothing or nonsense. Good ones are in the guest tests.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "base/file.hpp"
#include "nbd_handshake.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;
using test::mentions;

namespace {

UniqueFd listen_at(const std::filesystem::path& path) {
  UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{AF_UNIX, {}};
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(server.get(), 1) == 0);
  return server;
}

Error error_at(const std::filesystem::path& path) {
  return error_of([&] { shake_hands(path, "disk", std::chrono::milliseconds(200)); });
}

}  // namespace

TEST_CASE("nbd handshake: no server, and one that has left its socket behind") {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "socket";
  CHECK(error_at(path).code() == ENOENT);
  CHECK(mentions(error_at(path), "cannot connect to the export \"disk\" at " + path.string()));
  listen_at(path);
  CHECK(error_at(path).code() == ECONNREFUSED);
}

TEST_CASE("nbd handshake: a server that says nothing is not waited for") {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "socket";
  const UniqueFd server = listen_at(path);
  CHECK(error_at(path).code() == ETIMEDOUT);
}

TEST_CASE("nbd handshake: a server of something else") {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "socket";
  const UniqueFd server = listen_at(path);
  std::thread other([&server] {
    const UniqueFd client(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const std::string greeting(64, 'x');
    [[maybe_unused]] const auto written =
        ::send(client.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
  });
  const Error error = error_at(path);
  other.join();
  CHECK(error.code() != 0);
  CHECK(error.code() != ETIMEDOUT);
}

}  // namespace plydisk
