// A station's own store: its layers above a server's disk.
#include <array>

#include "station_fixture.hpp"

using namespace plydisk;
using plydisk::test::block;
using plydisk::test::error_of;
using plydisk::test::mentions;
using plydisk::test::StationFixture;

namespace {

bool has_word(char value) { return value != 0; }

}  // namespace

TEST_CASE_FIXTURE(StationFixture, "each of a station's destinations takes writes, at its place") {
  for (const char* local : {"client-ram", "client-volatile", "client-persistent"}) {
    attach(local);
    put('l', 1);
    CHECK(get(1) == 'l');
    CHECK_FALSE(has_word(at_server(1)));
    const auto layers = store->layers();
    REQUIRE(layers.size() == 1);
    CHECK((layers[0].folder.parent_path() == memory()) == (std::string(local) == "client-ram"));
    disk.reset();
    store->end_session("pc", true);
    CHECK(store->layers().empty());
    CHECK(std::filesystem::is_empty(memory()));
  }
  for (const char* remote : {"server-volatile", "server-persistent", "direct"}) {
    attach(remote);
    put('r', 2);
    CHECK(get(2) == 'r');
    CHECK(at_server(2) == 'r');
    CHECK(store->layers().empty());
    put('\0', 2);
    disk.reset();
    store->end_session("pc", true);
  }
}

TEST_CASE_FIXTURE(StationFixture, "the newest write of each sector is read, wherever it went") {
  attach("server-volatile");
  constexpr std::array order{
      "server-volatile",   "client-ram",        "server-volatile", "client-volatile",
      "server-persistent", "client-persistent", "client-ram",      "direct",
      "client-volatile",   "server-persistent", "client-ram"};
  // Block i is written last in step i, after having been written in all steps before.
  for (std::size_t step = 0; step < order.size(); ++step) {
    redirect(order[step]);
    for (std::size_t i = step; i < order.size(); ++i) put(static_cast<char>('a' + step), i);
    for (std::size_t i = 0; i < order.size(); ++i)
      CHECK(get(i) == static_cast<char>('a' + std::min(i, step)));
  }
  open("boot-1");
  connect();
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(get(i) == static_cast<char>('a' + i));
  CHECK(writes() == Destination::client_ram);
}

TEST_CASE_FIXTURE(StationFixture, "a station's restart keeps all, its reboot what is persistent") {
  attach("client-persistent");
  put('p', 1);
  redirect("client-ram");
  put('m', 1);
  put('m', 2);
  open("boot-1");
  connect();
  CHECK(get(1) == 'm');
  CHECK(get(2) == 'm');
  reboot("boot-2", "client-persistent");
  CHECK(get(1) == 'p');
  CHECK_FALSE(has_word(get(2)));
}

TEST_CASE_FIXTURE(StationFixture, "persistent writes above volatile ones go with them") {
  SUBCASE("volatile at the server, without a layer here") {
    attach("server-volatile");
    put('v', 1);
  }
  SUBCASE("volatile at the server, then persistent there") {
    attach("server-volatile");
    put('v', 1);
    redirect("server-persistent");
    put('p', 3);
  }
  SUBCASE("volatile at the server, by a plain client that was there before") {
    server->state.has_volatile = true;
    attach("client-persistent");
    put('v', 1);
    CHECK(error_of([&] { redirect("client-persistent", true); }).code() == ENOTSUP);
  }
  SUBCASE("volatile here") {
    attach("client-ram");
    put('v', 1);
    redirect("server-persistent");
  }
  CHECK_FALSE(redirect("client-persistent").survives);
  put('p', 2);
  CHECK(get(2) == 'p');
  reboot("boot-2", "client-persistent");
  CHECK_FALSE(has_word(get(2)));
}

TEST_CASE_FIXTURE(StationFixture,
                  "persistent writes to the server below do not make others volatile") {
  attach("server-persistent");
  put('s', 1);
  CHECK(redirect("client-persistent").survives);
  put('p', 2);
  CHECK(redirect("server-persistent").survives);
  put('q', 2);
  reboot("boot-2", "client-persistent");
  CHECK(get(1) == 's');
  CHECK(get(2) == 'q');
}

TEST_CASE_FIXTURE(StationFixture, "a full place hands over to the next, and loses nothing") {
  attach("client-ram:1M,client-volatile:1M,server-volatile");
  char value = 'a';
  for (std::uint64_t number = 0; number < 1024; number += 16) put(++value, number, 16);
  CHECK(writes() == Destination::server_volatile);
  value = 'a';
  for (std::uint64_t number = 0; number < 1024; number += 16) {
    CHECK(get(number) == ++value);
    CHECK(get(number + 15) == value);
  }
  for (const auto& layer : store->layers()) CHECK(layer.allocated <= 1 << 20);
  CHECK(log.size() == 2);
  // What is in a full layer is written again on top of it.
  put('z', 0);
  CHECK(get(0) == 'z');
  CHECK(at_server(0) == 'z');
}

TEST_CASE_FIXTURE(StationFixture, "what a session has not begun to write is not merged") {
  for (int round = 0; round < 6; ++round)
    for (const char* place : {"client-persistent", "server-persistent"}) {
      reboot("boot-" + std::to_string(round) + place, place);
      put('p', 1);
    }
  reboot("boot-last", "client-ram");
  CHECK(redirect("client-volatile").survives == false);
  put('v', 1);
  put('v', 2);
  reboot("boot-after", "client-ram");
  CHECK(get(1) == 'p');
  CHECK_FALSE(has_word(get(2)));
}

TEST_CASE_FIXTURE(StationFixture, "how much the server keeps is not for the station to say") {
  attach("client-ram");
  const Error error = error_of([&] { redirect("server-volatile:8M,client-ram"); });
  CHECK(error.code() == EINVAL);
  CHECK(mentions(error, "plydisk station set pc writes=server-volatile:8M"));
}

TEST_CASE_FIXTURE(StationFixture,
                  "at the end of the list the station is told that its disk is full") {
  attach("client-ram:1M");
  std::uint64_t number = 0;
  const Error error = error_of([&] {
    for (; number < 1024; ++number) put('x', number);
  });
  CHECK(error.code() == ENOSPC);
  CHECK(number > 200);
  CHECK(log.size() == 1);
  for (std::uint64_t i = 0; i < number; ++i) CHECK(get(i) == 'x');
  // What has a place can still be changed, and what is given back can be used.
  put('y', 7);
  CHECK(get(7) == 'y');
  disk->disk().trim(0, 100 * block, false);
  for (std::uint64_t i = 0; i < 50; ++i) put('n', number + i);
  CHECK(get(number + 49) == 'n');
  CHECK_FALSE(has_word(get(7)));
  // More may be granted.
  redirect("client-ram:2M");
  for (std::uint64_t i = 0; i < 200; ++i) put('o', 2000 + i);
  CHECK(get(2199) == 'o');
  CHECK(store->layers().size() == 1);
  redirect("client-ram:1M");
  CHECK(error_of([&] { put('p', 5000); }).code() == ENOSPC);
}

TEST_CASE_FIXTURE(StationFixture, "carrying moves the station's writes to where they stay") {
  attach("client-ram");
  put('a', 1);
  redirect("client-volatile");
  put('b', 2);
  SUBCASE("into a file of its own") {
    const auto result = redirect("client-persistent", true);
    CHECK(result.survives);
    CHECK(result.carried == 2 * block);
    CHECK_FALSE(has_word(at_server(1)));
    reboot("boot-2", "client-persistent");
  }
  SUBCASE("to the server") {
    const auto result = redirect("server-persistent", true);
    CHECK(result.survives);
    CHECK(store->layers().empty());
    CHECK(at_server(1) == 'a');
    CHECK(at_server(2) == 'b');
    reboot("boot-2", "client-ram");
  }
  CHECK(get(1) == 'a');
  CHECK(get(2) == 'b');
  CHECK(std::filesystem::is_empty(memory()));
}

TEST_CASE_FIXTURE(StationFixture, "persistent layers of the station are carried to the server") {
  attach("client-persistent");
  put('a', 1);
  redirect("server-volatile");
  put('b', 2);
  const auto fit = [&] {
    return compare(*store->catalogue().session_of("pc", "img"), server->state.foundation);
  };
  SUBCASE("and it knows") {
    CHECK(redirect("server-persistent", true).survives);
    CHECK(store->layers().empty());
    put('c', 3);
    CHECK(fit() == Fit::fits);
  }
  SUBCASE("and it asks, since the answer was lost") {
    server->loses_answer = true;
    CHECK(redirect("server-persistent", true).survives);
    CHECK(store->layers().empty());
    CHECK(fit() == Fit::fits);
  }
  SUBCASE("and it learns it at its next session, since the server could not be asked") {
    server->loses_answer = server->is_away_after = true;
    CHECK_THROWS_AS(redirect("server-persistent", true), Error);
    CHECK(get(1) == 'a');
    CHECK(get(2) == 'b');
    CHECK(writes() == Destination::server_volatile);
    open("boot-2");
    CHECK(fit() == Fit::carried);
    return;
  }
  SUBCASE("or not, if that refuses") {
    server->refuses_carry = true;
    CHECK_THROWS_AS(redirect("server-persistent", true), Error);
    CHECK(get(1) == 'a');
    open("boot-2");
    CHECK(fit() == Fit::fits);
    CHECK(store->layers().size() == 1);
    return;
  }
  for (unsigned number : {1U, 2U}) CHECK(at_server(number) == get(number));
  CHECK(at_server(1) == 'a');
  CHECK(at_server(2) == 'b');
}

TEST_CASE_FIXTURE(StationFixture, "the server is told where writes go, and what they lie on") {
  attach("server-volatile");
  put('v', 1);
  redirect("client-persistent");
  redirect("client-ram");
  redirect("server-persistent");
  CHECK(server->told ==
        std::vector<std::string>{"server-volatile", "client-persistent above volatile",
                                 "client-ram above volatile", "server-persistent above volatile"});
  server->told.clear();
  redirect("server-persistent", true);
  CHECK(server->told ==
        std::vector<std::string>{"server-volatile above volatile", "server-persistent carry"});
  server->told.clear();
  disk.reset();
  store->end_session("pc", false);
  CHECK(server->told == std::vector<std::string>{"end"});
}

TEST_CASE_FIXTURE(StationFixture, "what the station may not choose is not done, here neither") {
  attach("client-ram");
  put('a', 1);
  server->forbidden = Destination::client_volatile;
  CHECK_THROWS_AS(redirect("client-volatile"), Error);
  CHECK_THROWS_AS(redirect("client-persistent,client-volatile"), Error);
  CHECK(writes() == Destination::client_ram);
  // A server that can't be asked does not stop what needs no server.
  server->forbidden.reset();
  server->is_away = true;
  redirect("client-volatile");
  CHECK(writes() == Destination::client_volatile);
}

TEST_CASE_FIXTURE(StationFixture, "what the server refuses is not done") {
  attach("client-ram");
  put('m', 1);
  server->refuses = true;
  for (const char* remote : {"server-volatile", "server-persistent", "direct"})
    CHECK(error_of([&] { redirect(remote); }).code() == EACCES);
  CHECK(error_of([&] { redirect("server-persistent", true); }).code() == EACCES);
  put('n', 2);
  CHECK(writes() == Destination::client_ram);
  CHECK_FALSE(has_word(at_server(2)));
  CHECK(store->layers().size() == 1);
  // It has no say in what stays at the station.
  redirect("client-volatile");
  CHECK(writes() == Destination::client_volatile);
}

TEST_CASE_FIXTURE(StationFixture, "a server of another make is written directly or not at all") {
  server.reset();
  open("boot-1");
  set_writes("server-volatile");
  CHECK(error_of([&] { connect(); }).code() == ENOTSUP);
  attach("direct");
  put('d', 1);
  CHECK(at_server(1) == 'd');
  CHECK(error_of([&] { redirect("server-persistent"); }).code() == ENOTSUP);
  redirect("client-ram");
  put('m', 1);
  redirect("direct", true);
  CHECK(at_server(1) == 'm');
  CHECK(store->layers().empty());
}

TEST_CASE_FIXTURE(StationFixture, "without a folder on a disk there are no files") {
  keeps_files = false;
  open("boot-1");
  set_writes("client-volatile");
  CHECK(mentions(error_of([&] { connect(); }), "--dir"));
  attach("client-ram");
  CHECK(mentions(error_of([&] { redirect("client-persistent"); }), "--dir"));
  put('m', 1);
  CHECK(writes() == Destination::client_ram);
}

TEST_CASE_FIXTURE(StationFixture,
                  "many redirections of a station leave few layers and lose nothing") {
  attach("client-ram");
  constexpr std::array plans{"client-ram", "client-volatile", "server-volatile"};
  for (unsigned i = 0; i < 60; ++i) {
    redirect(plans[i % plans.size()]);
    put(static_cast<char>(1 + i), i);
  }
  CHECK(store->layers().size() < 20);
  for (unsigned i = 0; i < 60; ++i) CHECK(get(i) == static_cast<char>(1 + i));
}
