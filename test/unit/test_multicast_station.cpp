// A station's disk at its server, with multicast in between: what it reads is what the server has,
// whatever is sent, lost or written.
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "multicast/multicast_backing.hpp"
#include "multicast/sender.hpp"
#include "test_support.hpp"

using namespace plydisk;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t station_disk_size = 20 * chunk_size + 4096;  // bytes

MulticastGroup station_group(const std::string& address) {
  return {address, static_cast<std::uint16_t>(20000 + ::getpid() % 20000), "lo", 1};
}

// The server's disk, in memory; and all that a station asks of the server.
class FakeDisk : public Backing, public MulticastUpstream {
 public:
  explicit FakeDisk(const std::string& address)
      : sender_({station_group(address), 1 << 30}), bytes_(station_disk_size) {
    std::mt19937 random(3);
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random() & 0xff);
    for (std::uint64_t chunk = 0; chunk < chunk_count(station_disk_size); ++chunk)
      hashes_.push_back(hash_of(frozen(chunk)));
    offer.group = station_group(address);
    offer.stream = stream_id("station", 1);
    offer.disk_size = station_disk_size;
    offer.timeout = 60s;
    offer.memory = 8 << 20;
  }

  // What the version has, whatever was written since.
  std::vector<std::byte> frozen(std::uint64_t chunk) const {
    const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(chunk * chunk_size);
    return {begin, begin + static_cast<std::ptrdiff_t>(chunk_length(chunk, station_disk_size))};
  }
  void send(std::uint64_t chunk) {
    sender_.send(offer.stream, static_cast<std::uint32_t>(chunk), frozen(chunk));
  }

  std::uint64_t size() const noexcept override { return station_disk_size; }
  std::string describe() const override { return "a fake"; }
  void read(void* buffer, std::size_t length, std::uint64_t offset) const override {
    const std::lock_guard lock(mutex_);
    ++reads;
    std::memcpy(buffer, (written_.empty() ? bytes_ : written_).data() + offset, length);
  }
  bool is_cold() const noexcept override { return false; }
  void prefetch(std::uint64_t, std::uint64_t) const override {}
  void for_each_extent(std::uint64_t offset, std::uint64_t length,
                       const ExtentFn& fn) const override {
    fn(offset, length, false);
  }
  void open_for_writing() override {}
  void close_for_writing() noexcept override {}
  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    if (written_.empty()) written_ = bytes_;
    std::memcpy(written_.data() + offset, buffer, length);
  }
  void zero(std::uint64_t offset, std::uint64_t length, bool) override {
    const std::vector<std::byte> zeros(length);
    write(zeros.data(), length, offset);
  }
  void flush() override {}
  bool send_by_multicast(std::uint64_t offset, std::uint64_t length) const override {
    ++asked;
    if (refuses) return false;
    if (is_deaf) return true;
    for (std::uint64_t chunk = offset / chunk_size; chunk * chunk_size < offset + length; ++chunk)
      const_cast<FakeDisk*>(this)->send(chunk);
    return true;
  }
  std::uint64_t connection() const noexcept override { return connection_number; }
  std::string interface() const override { return "lo"; }

  MulticastOffer join_multicast(const MulticastCounters&) override {
    ++joins;
    if (is_forbidden) throw Error(ENOTSUP, "the parameter says no");
    return offer;
  }
  void leave_multicast() override { ++leaves; }
  std::vector<std::optional<ChunkHash>> multicast_hashes(std::uint64_t range) override {
    CHECK(range == 0);
    std::vector<std::optional<ChunkHash>> hashes;
    for (const ChunkHash& hash : hashes_) hashes.emplace_back(hash);
    hashes.at(7).reset();  // the session has written there
    return hashes;
  }

  std::uint64_t packets_sent() const { return sender_.counters().packets; }

  MulticastOffer offer;
  mutable std::atomic<unsigned> reads{0}, asked{0};
  std::atomic<unsigned> joins{0}, leaves{0};
  std::atomic<bool> refuses{false}, is_deaf{false}, is_forbidden{false};
  std::atomic<std::uint64_t> connection_number{1};

 private:
  MulticastSender sender_;
  std::vector<std::byte> bytes_;
  std::vector<ChunkHash> hashes_;
  mutable std::mutex mutex_;  // protects the next
  std::vector<std::byte> written_;
};

struct Station {
  explicit Station(const std::string& address)
      : server(std::make_shared<FakeDisk>(address)), disk(server, server) {
    disk.join();
    REQUIRE(disk.status().is_joined);
    // The first read asks for hashes, and is by unicast.
    for (int tries = 0; tries < 1000 && disk.status().counters.heard == 0; ++tries) {
      server->send(19);
      CHECK(is_right(19, 1));
      std::this_thread::sleep_for(5ms);
    }
    REQUIRE(disk.status().counters.heard > 0);
    // On a busy machine what was sent may have come late.
    const auto is_quiet = [&] {
      return !disk.status().is_silent && disk.status().counters.packets >= server->packets_sent();
    };
    REQUIRE(comes_true(is_quiet));
    before = disk.status().counters;
    server->reads = 0;
  }
  // Reads whole chunks, and compares them.
  bool is_right(std::uint64_t first, std::uint64_t count) {
    std::vector<std::byte> expected, bytes;
    for (std::uint64_t chunk = first; chunk < first + count; ++chunk)
      for (const std::byte byte : server->frozen(chunk)) expected.push_back(byte);
    bytes.resize(expected.size());
    disk.read(bytes.data(), bytes.size(), first * chunk_size);
    return bytes == expected;
  }
  std::uint64_t grown(std::uint64_t MulticastCounters::*field) const {
    return disk.status().counters.*field - before.*field;
  }
  // As long as it takes.
  template <typename Fn>
  bool comes_true(Fn&& fn) {
    for (int tries = 0; tries < 2000 && !fn(); ++tries) std::this_thread::sleep_for(10ms);
    return fn();
  }
  char first_byte(std::uint64_t chunk) {
    char value = 0;
    disk.read(&value, 1, chunk * chunk_size);
    return value;
  }

  std::shared_ptr<FakeDisk> server;
  MulticastBacking disk;
  MulticastCounters before;
};

}  // namespace

TEST_CASE("multicast station: what it wants is sent, and what is sent is not asked for") {
  Station station("239.192.78.1");
  // All that comes in time is not read by unicast; on a busy machine it may come too late.
  CHECK(station.is_right(0, 7));
  CHECK(station.is_right(8, chunk_count(station_disk_size) - 8));
  CHECK(station.server->asked > 0);
  CHECK(station.grown(&MulticastCounters::bytes_heard) +
            station.grown(&MulticastCounters::bytes_unicast) ==
        station_disk_size - chunk_size);
  const std::uint64_t heard = station.grown(&MulticastCounters::heard);
  station.server->send(3);
  REQUIRE(station.comes_true([&] { return station.grown(&MulticastCounters::heard) > heard; }));
  const unsigned reads = station.server->reads, asked = station.server->asked;
  CHECK(station.is_right(3, 1));
  CHECK(station.server->reads == reads);
  CHECK(station.server->asked == asked);
}

TEST_CASE("multicast station: a part of a chunk, and what lies across two") {
  Station station("239.192.78.2");
  std::vector<std::byte> bytes(3000);
  for (const std::uint64_t offset : {std::uint64_t{100}, chunk_size - 1500, 5 * chunk_size - 1}) {
    station.disk.read(bytes.data(), bytes.size(), offset);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::uint64_t at = offset + i;
      REQUIRE(bytes[i] == station.server->frozen(at / chunk_size)[at % chunk_size]);
    }
  }
}

TEST_CASE("multicast station: what the session has written is never shadowed") {
  Station station("239.192.78.3");
  SUBCASE("what was written at the server before") {
    station.server->send(7);
    station.server->send(8);
    REQUIRE(station.comes_true([&] { return station.grown(&MulticastCounters::heard) > 0; }));
    CHECK(station.is_right(7, 1));
    CHECK(station.server->reads == 1);
  }
  SUBCASE("what was heard before it is written") {
    station.server->send(5);
    REQUIRE(station.comes_true([&] { return station.grown(&MulticastCounters::heard) > 0; }));
    station.disk.write("!", 1, 5 * chunk_size);
    CHECK(station.first_byte(5) == '!');
  }
  SUBCASE("what is heard after it was written") {
    station.disk.write("!", 1, 5 * chunk_size);
    station.disk.zero(6 * chunk_size - 512, 1024, true);
    for (const std::uint64_t chunk : {5U, 6U, 8U}) station.server->send(chunk);
    REQUIRE(station.comes_true([&] { return station.grown(&MulticastCounters::heard) > 0; }));
    CHECK(station.first_byte(5) == '!');
    CHECK(station.first_byte(6) == 0);
    CHECK(station.grown(&MulticastCounters::heard) == 1);
  }
}

TEST_CASE("multicast station: reads that race with writes see what was written before them") {
  Station station("239.192.78.4");
  constexpr std::uint64_t raced = 12;
  std::atomic<bool> is_over{false};
  std::atomic<unsigned char> written{0};
  std::thread sender([&] {
    for (std::uint64_t i = 0; !is_over; ++i) station.server->send(i % 2 == 0 ? raced : 13);
  });
  std::vector<std::thread> readers;
  std::atomic<unsigned> wrong{0};
  const auto old = static_cast<char>(station.server->frozen(raced)[0]);
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!is_over) {
        const unsigned char before = written;
        const char seen = station.first_byte(raced);
        // The old byte is right only as long as no write had ended when the read began.
        const bool is_right = before == 0 ? seen == old || static_cast<unsigned char>(seen) >= 1
                                          : static_cast<unsigned char>(seen) >= before;
        wrong += !is_right;
      }
    });
  std::this_thread::sleep_for(100ms);
  for (unsigned char value = 1; value < 200; ++value) {
    station.disk.write(&value, 1, raced * chunk_size);
    written = value;
    std::this_thread::sleep_for(1ms);
  }
  is_over = true;
  sender.join();
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(static_cast<unsigned char>(station.first_byte(raced)) == 199);
}

TEST_CASE("multicast station: what is refused is read, and not asked for again at once") {
  Station station("239.192.78.5");
  station.server->refuses = true;
  CHECK(station.is_right(0, 4));
  CHECK(station.grown(&MulticastCounters::refused) == 4);
  CHECK(station.server->reads == 1);
  CHECK(station.grown(&MulticastCounters::missed) == 0);
}

TEST_CASE("multicast station: where nothing is heard it reads, and soon does not wait") {
  Station station("239.192.78.6");
  station.server->is_deaf = true;
  CHECK(station.is_right(0, 2));
  CHECK(station.disk.status().is_silent);
  CHECK(station.grown(&MulticastCounters::missed) == 1);
  // Silent: it asks by itself now and then, and no read does.
  CHECK(station.is_right(2, 2));
  CHECK(station.grown(&MulticastCounters::missed) == 1);
  CHECK(station.grown(&MulticastCounters::asked) == 2);
  station.server->is_deaf = false;
  CHECK(station.comes_true([&] { return !station.disk.status().is_silent; }));
  CHECK(station.is_right(0, 7));
}

TEST_CASE("multicast station: after another connection it joins anew, and knows nothing") {
  Station station("239.192.78.7");
  station.server->send(4);
  REQUIRE(station.comes_true([&] { return station.grown(&MulticastCounters::heard) > 0; }));
  const unsigned joins = station.server->joins;
  station.server->connection_number = 2;
  CHECK(station.is_right(4, 1));
  CHECK(station.server->reads == 1);
  CHECK(station.comes_true(
      [&] { return station.server->joins > joins && station.disk.status().is_joined; }));
  CHECK(station.grown(&MulticastCounters::heard) > 0);  // counted on
}

TEST_CASE("multicast station: it leaves, and joins again") {
  Station station("239.192.78.8");
  station.disk.leave();
  CHECK(station.server->leaves == 1);
  CHECK_FALSE(station.disk.status().is_joined);
  const unsigned asked = station.server->asked;
  CHECK(station.is_right(0, 3));
  CHECK(station.server->asked == asked);
  station.server->is_forbidden = true;
  station.disk.join();
  CHECK_FALSE(station.disk.status().is_joined);
  CHECK(station.disk.status().reason == "the parameter says no");
  CHECK(station.is_right(0, 3));
  station.server->is_forbidden = false;
  station.disk.join();
  CHECK(station.disk.status().is_joined);
  CHECK(station.is_right(0, 3));
}

TEST_CASE("multicast station: a flood of what is forged, torn or of others does no harm") {
  Station station("239.192.78.10");
  std::atomic<bool> is_over{false};
  std::thread flood([&] {
    MulticastSender sender({station_group("239.192.78.10"), std::uint64_t{1} << 32});
    const auto sent_by_nobody = stream_id("another", 1);
    const std::vector<std::byte> forged(chunk_size, std::byte{'x'});
    const UniqueFd noise = open_sender(station_group("239.192.78.10"));
    while (!is_over) {
      for (std::uint32_t chunk = 0; chunk < 20 && !is_over; ++chunk) {
        sender.send(station.server->offer.stream, chunk, forged);
        sender.send(sent_by_nobody, chunk, forged);
        sender.send(station.server->offer.stream, chunk + 1000, forged);
        sender.send(station.server->offer.stream, chunk, {forged.data(), 5000});
        [[maybe_unused]] const ssize_t written = ::write(noise.get(), forged.data(), 300);
      }
    }
  });
  const auto is_hit = [&] { return station.grown(&MulticastCounters::wrong) > 0; };
  CHECK(station.comes_true(is_hit));
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t chunk = 0; chunk < chunk_count(station_disk_size); ++chunk)
      CHECK(station.is_right(chunk, 1));
  is_over = true;
  flood.join();
  CHECK(station.grown(&MulticastCounters::foreign) > 0);
  CHECK(station.disk.status().bytes_kept <= station.server->offer.memory);
}

TEST_CASE("multicast station: a server that answers nonsense is not joined") {
  auto server = std::make_shared<FakeDisk>("239.192.78.9");
  server->offer.disk_size = 512;
  MulticastBacking disk(server, server);
  disk.join();
  CHECK_FALSE(disk.status().is_joined);
  CHECK(disk.status().reason == "the server has another size of the disk");
  server->offer.disk_size = station_disk_size;
  server->offer.group.address = "example.org";
  disk.join();
  CHECK_FALSE(disk.status().is_joined);
}
