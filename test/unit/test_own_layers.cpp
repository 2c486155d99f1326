// What a station sends of its own layers for a version: the newest copies that are there at one
// moment, and no others.
#include <atomic>
#include <thread>

#include "stack/stack.hpp"
#include "station_fixture.hpp"

using namespace plydisk;
using plydisk::test::block;
using plydisk::test::error_of;
using plydisk::test::StationFixture;

namespace {

constexpr char zeros_sent = 'Z', not_sent = '-';

// What is sent of a block: its first byte.
char sent(const OwnLayers& own, std::uint64_t number) {
  const std::uint64_t offset = number * block;
  const auto sector = static_cast<unsigned>(offset % chunk_size / sector_size);
  for (const OwnLayers::Chunk& chunk : own.chunks) {
    if (chunk.number != offset / chunk_size) continue;
    if (chunk.zeros.test(sector)) return zeros_sent;
    char value = not_sent;
    for_each_newest(own.stack->layers, chunk.number, chunk.data,
                    [&](const Layer& layer, unsigned first, unsigned count) {
                      if (sector >= first && sector < first + count)
                        layer.data().read(&value, 1, offset);
                    });
    return value;
  }
  return not_sent;
}

}  // namespace

TEST_CASE_FIXTURE(StationFixture, "what the station keeps is sent as it is now") {
  for (const char* writes : {"client-ram", "client-volatile", "client-persistent"}) {
    attach(writes);
    put('a', 1);
    put('b', 2, 20);
    disk->disk().zero(3 * block, block, true, false);
    server->told.clear();
    const OwnLayers own = store->freeze_own_layers("pc", 7);
    CHECK(server->told == std::vector<std::string>{"freeze"});
    put('n', 1);
    put('n', 40);
    CHECK(own.bytes == 21 * block);
    CHECK(sent(own, 0) == not_sent);
    CHECK(sent(own, 1) == 'a');
    CHECK(sent(own, 2) == 'b');
    CHECK(sent(own, 3) == zeros_sent);
    CHECK(sent(own, 40) == not_sent);
    CHECK(get(1) == 'n');
    CHECK(writes == std::string(to_string(this->writes())));
    const OwnLayers again = store->freeze_own_layers("pc", 8);
    CHECK(sent(again, 1) == 'n');
    CHECK(sent(again, 2) == 'b');
    CHECK(again.bytes == 22 * block);
    disk.reset();
    store->end_session("pc", true);
  }
}

TEST_CASE_FIXTURE(StationFixture, "what went on to the server is not sent") {
  attach("client-ram");
  put('a', 1, 4);
  redirect("server-volatile");
  put('s', 2);
  put('t', 9);
  server->told.clear();
  const OwnLayers own = store->freeze_own_layers("pc", 7);
  CHECK(server->told == std::vector<std::string>{"freeze, going on", "freeze"});
  put('n', 3);
  CHECK(own.bytes == 3 * block);
  CHECK(sent(own, 1) == 'a');
  CHECK(sent(own, 2) == not_sent);
  CHECK(sent(own, 3) == 'a');
  CHECK(sent(own, 9) == not_sent);
  redirect("client-volatile");
  put('v', 2);
  const OwnLayers both = store->freeze_own_layers("pc", 8);
  CHECK(sent(both, 1) == 'a');
  CHECK(sent(both, 2) == 'v');
  CHECK(sent(both, 3) == not_sent);
  CHECK(store->layers().size() < 6);
}

TEST_CASE_FIXTURE(StationFixture,
                  "a write on its way to the server when that begins is waited for") {
  attach("client-ram");
  constexpr std::uint64_t blocks = 8192;
  put('a', 0, blocks);
  redirect("server-volatile");
  std::thread writer;
  server->on_first_freeze = [&] {
    writer = std::thread([&] { put('s', 0, blocks); });
    // The server has a part of it, and the station does not know yet of all.
    while (at_server(0) != 's') std::this_thread::yield();
  };
  const OwnLayers own = store->freeze_own_layers("pc", 7);
  writer.join();
  CHECK(own.bytes == 0);
}

TEST_CASE_FIXTURE(StationFixture,
                  "the layers that are sent stay, whatever becomes of the session") {
  attach("client-persistent");
  put('a', 1);
  reboot("boot-2", "client-persistent");
  // Nothing was written in this session yet: what is now must not go into the same layer.
  const OwnLayers own = store->freeze_own_layers("pc", 7);
  put('n', 1);
  CHECK(sent(own, 1) == 'a');
  redirect("server-persistent", true);
  CHECK(store->layers().empty());
  CHECK(sent(own, 1) == 'a');
  disk.reset();
  store->end_session("pc", true);
  CHECK(sent(own, 1) == 'a');
}

TEST_CASE_FIXTURE(StationFixture, "nothing is frozen above a server that is away or has changed") {
  attach("client-ram");
  put('a', 1);
  server->is_away = true;
  CHECK(error_of([&] { store->freeze_own_layers("pc", 7); }).code() == ESHUTDOWN);
  server->is_away = false;
  server->state.foundation.image_writer = "another";
  CHECK(error_of([&] { store->freeze_own_layers("pc", 7); }).code() == ESTALE);
  CHECK(store->layers().size() == 1);
  put('b', 1);
  CHECK(get(1) == 'b');
}
