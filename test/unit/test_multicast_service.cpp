// What a server sends, to whom, and when it does not.
#include <unistd.h>

#include <thread>

#include "multicast/receiver.hpp"
#include "multicast/service.hpp"
#include "version_fixture.hpp"

using namespace plydisk;
using namespace std::chrono_literals;
using test::error_of;
using test::VersionFixture;

namespace {

struct ServiceFixture : VersionFixture {
  ServiceFixture() {
    terms.use = MulticastTerms::Use::automatic;
    terms.group = {"239.192.79.1", static_cast<std::uint16_t>(20000 + ::getpid() % 20000), "lo", 1};
    terms.rate = 1 << 30;
    terms.packet_size = 1400;
    terms.window = 60s;
    terms.least = 2;
    terms.timeout = 30s;
    terms.memory = 8 << 20;
  }
  struct Joined {
    std::unique_ptr<Store::Connection> connection;
    std::shared_ptr<Disk> disk;
    std::string session;
  };
  Joined join(const std::string& station) {
    Joined joined;
    joined.connection = connect("img@" + station);
    joined.disk = std::shared_ptr<Disk>(std::make_shared<int>(0), &joined.connection->disk());
    joined.session = store->session(station).record.id;
    subscribe(joined);
    return joined;
  }
  void subscribe(const Joined& joined) {
    service.subscribe(joined.disk, joined.session, {"img", 1, stream, terms}, {});
  }
  MulticastService::Answer ask(const Joined& joined, std::uint64_t chunk, std::uint64_t count = 1) {
    return service.send(*joined.disk, chunk * chunk_size, count * chunk_size);
  }
  MulticastService::StreamStatus status() { return service.streams().at(0); }

  StreamId stream = stream_id("img", 1);
  MulticastTerms terms;
  MulticastService service;
};

using Answer = MulticastService::Answer;

}  // namespace

TEST_CASE("multicast service: what several ask for is sent once") {
  ServiceFixture test;
  const auto one = test.join("pc"), two = test.join("other");
  CHECK(test.ask(one, 3, 2) == Answer::sent);
  CHECK(test.ask(two, 3, 2) == Answer::sent);
  CHECK(test.ask(two, 4, 2) == Answer::sent);
  CHECK(test.status().chunks == 3);
  CHECK(test.status().merged == 3);
  CHECK(test.status().subscribers == 2);
  CHECK(test.status().bytes > 3 * chunk_size);
  CHECK(test.status().bytes < 3 * chunk_size * 21 / 20);
  // Those who ask at the same time, too.
  std::vector<std::thread> threads;
  std::atomic<unsigned> sent{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back(
        [&, i] { sent += test.ask(i % 2 == 0 ? one : two, 50, 20) == Answer::sent; });
  for (auto& thread : threads) thread.join();
  CHECK(sent == 8);
  CHECK(test.status().chunks == 23);
}

TEST_CASE("multicast service: when the window is over it is sent again") {
  ServiceFixture test;
  test.terms.window = 0ms;
  const auto one = test.join("pc"), two = test.join("other");
  CHECK(test.ask(one, 3) == Answer::sent);
  CHECK(test.ask(two, 3) == Answer::sent);
  CHECK(test.status().chunks == 2);
}

TEST_CASE("multicast service: whether it pays is the terms' matter") {
  ServiceFixture test;
  const auto one = test.join("pc");
  CHECK(test.ask(one, 0) == Answer::refused);
  test.terms.use = MulticastTerms::Use::yes;
  test.subscribe(one);
  CHECK(test.ask(one, 0) == Answer::sent);
  test.terms.use = MulticastTerms::Use::no;
  CHECK(error_of([&] { test.subscribe(one); }).code() == ENOTSUP);
  CHECK(test.status().refused == 1);
  CHECK(test.service.subscriber(one.session)->asked == 2);
  CHECK(test.service.subscriber(one.session)->refused == 1);
}

TEST_CASE("multicast service: who left, or never came, is not sent anything") {
  ServiceFixture test;
  const auto one = test.join("pc");
  auto two = test.join("other");
  const auto plain = test.connect("img");
  CHECK(test.service.send(plain->disk(), 0, 4096) == Answer::not_subscribed);
  test.service.leave(one.session);
  CHECK(test.ask(one, 0) == Answer::not_subscribed);
  CHECK(test.ask(two, 0) == Answer::refused);
  test.subscribe(one);
  CHECK(test.ask(two, 0) == Answer::sent);
  // Whose disk is gone is forgotten.
  two.disk.reset();
  CHECK_FALSE(test.service.subscriber(two.session));
  CHECK(test.ask(one, 1) == Answer::refused);
}

TEST_CASE(
    "multicast service: a session's own writes are not sent, nor the image while it has them") {
  ServiceFixture test;
  const auto one = test.join("pc"), two = test.join("other");
  test::put(*one.connection, 'x', 5 * chunk_size + 8192);
  CHECK(test.ask(one, 5) == Answer::refused);
  CHECK(test.ask(one, 4, 2) == Answer::refused);
  CHECK(test.ask(one, 4) == Answer::sent);
  // For another one it is as the version has it, and so it is sent.
  MulticastReceiver::Options options;
  options.group = test.terms.group;
  options.stream = test.stream;
  options.disk_size = 8 << 20;
  options.timeout = 60s;
  MulticastReceiver receiver(
      options, [](std::uint64_t) { return hash_of(std::vector<std::byte>(chunk_size)); });
  CHECK(test.ask(two, 5) == Answer::sent);
  CHECK(receiver.wait_for(5, ChunkCache::Clock::now() + 20s));
  CHECK(receiver.counters().wrong == 0);
}

TEST_CASE("multicast service: too much that waits is refused") {
  ServiceFixture test;
  test.terms.rate = 2 << 20;
  const auto one = test.join("pc"), two = test.join("other");
  std::vector<std::thread> threads;
  std::atomic<unsigned> refused{0};
  for (std::uint64_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] { refused += test.ask(one, 16 * i, 16) == Answer::refused; });
  for (auto& thread : threads) thread.join();
  CHECK(refused > 0);
  CHECK(refused < 8);
  CHECK(test.status().refused == refused);
}

TEST_CASE("multicast service: what can't be sent is refused, and told") {
  ServiceFixture test;
  test.terms.group.interface = "none77";
  CHECK(error_of([&] { test.join("pc"); }).code() == ENODEV);
  test.service.stop();
  test.terms.group.interface = "lo";
  CHECK(error_of([&] { test.join("other"); }).code() == ESHUTDOWN);
}

TEST_CASE("multicast service: hashes of a version are those of what it reads as") {
  VersionFixture test;
  const auto hash_at = [&](unsigned version, std::uint64_t chunk) {
    return test.store->chunk_hashes("img", version, chunk, 1).at(0);
  };
  CHECK(test.store->chunk_hashes("img", 1, 0, 4096).size() == 128);
  CHECK(test.store->chunk_hashes("img", 1, 120, 4096).size() == 8);
  CHECK(test.store->chunk_hashes("img", 1, 4096, 4096).empty());
  CHECK_FALSE(hash_at(1, 0));
  const unsigned second = test.add_version(1, 'a', 3 * chunk_size);
  test.store->verify_version("img", second, {});
  const DiskView view = test.store->view_version("img", second);
  for (std::uint64_t chunk = 0; chunk < 128; ++chunk) {
    std::vector<std::byte> bytes(chunk_size);
    view.stack->read(bytes.data(), bytes.size(), chunk * chunk_size);
    REQUIRE(hash_at(second, chunk) == hash_of(bytes));
  }
  CHECK(hash_at(1, 3) != hash_at(second, 3));
  ChunkHashes::remove(test.path() / "images" / "img");
  CHECK_FALSE(hash_at(1, 0));
  CHECK(hash_at(second, 3));
}
