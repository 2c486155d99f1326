// A sender and receivers of multicast, on this machine's own interface.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "multicast/receiver.hpp"
#include "multicast/sender.hpp"
#include "test_support.hpp"

using namespace plydisk;
using namespace std::chrono_literals;
using plydisk::test::error_of;

namespace {

using Bytes = std::vector<std::byte>;
using Clock = ChunkCache::Clock;

constexpr std::uint64_t version_size = 40 * chunk_size + 700;  // bytes

// The chunks of a disk, and their hashes, made once: the receiver asks for a hash at each packet.
struct DiskOfChunks {
  std::vector<Bytes> chunks;
  std::vector<ChunkHash> hashes;
  DiskOfChunks() {
    std::mt19937 random(1);
    for (std::uint64_t number = 0; number < chunk_count(version_size); ++number) {
      Bytes bytes(chunk_length(number, version_size));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);
      hashes.push_back(hash_of(bytes));
      chunks.push_back(std::move(bytes));
    }
  }
};

const DiskOfChunks& disk() {
  static const DiskOfChunks made;
  return made;
}

const Bytes& chunk_of(std::uint64_t number) { return disk().chunks.at(number); }

// Each test has its own group, since others of this machine may be tested at the same time.
MulticastGroup own_group(const std::string& address) {
  return {address, static_cast<std::uint16_t>(20000 + ::getpid() % 20000), "lo", 1};
}

struct Network {
  explicit Network(const std::string& address) : group(own_group(address)) {}
  MulticastGroup group;
  StreamId stream = stream_id("image", 1);
  // Of chunks that may be taken.
  std::function<std::optional<ChunkHash>(std::uint64_t)> hash = [](std::uint64_t chunk) {
    return std::optional(disk().hashes.at(chunk));
  };

  std::unique_ptr<MulticastReceiver> receiver(std::size_t memory = 64 << 20) const {
    MulticastReceiver::Options options;
    options.group = group;
    options.stream = stream;
    options.disk_size = version_size;
    options.memory = memory;
    options.timeout = 60s;
    return std::make_unique<MulticastReceiver>(options, hash);
  }
  MulticastSender sender(std::uint64_t rate = 1 << 30) const {
    MulticastSender::Options options;
    options.group = group;
    options.rate = rate;
    return MulticastSender(options);
  }
};

bool has_chunk(MulticastReceiver& receiver, std::uint64_t number) {
  if (!receiver.wait_for(number, Clock::now() + 10s)) return false;
  Bytes read(chunk_length(number, version_size));
  return receiver.cache().read(number, 0, read, Clock::now()) && read == chunk_of(number);
}

}  // namespace

TEST_CASE("multicast: every receiver hears what was sent once") {
  for (const char* address : {"239.192.77.1", "127.255.255.255"}) {
    CAPTURE(address);
    const Network network(address);
    const auto one = network.receiver(), two = network.receiver();
    MulticastSender sender = network.sender();
    for (std::uint64_t chunk = 0; chunk < chunk_count(version_size); ++chunk) {
      sender.send(network.stream, static_cast<std::uint32_t>(chunk), chunk_of(chunk));
      REQUIRE(has_chunk(*one, chunk));
      REQUIRE(has_chunk(*two, chunk));
    }
    CHECK(one->counters().wrong == 0);
    CHECK(one->counters().lost == 0);
    CHECK(one->counters().packets == sender.counters().packets);
    CHECK(sender.counters().chunks == chunk_count(version_size));
    CHECK(one->cache().counters().bytes == 0);
  }
}

TEST_CASE("multicast: nothing else is taken for a chunk") {
  Network network("239.192.77.2");
  network.hash = [](std::uint64_t chunk) {
    return chunk == 5 ? std::nullopt : std::optional(disk().hashes.at(chunk));
  };
  const auto receiver = network.receiver();
  MulticastSender sender = network.sender();
  sender.send(stream_id("image", 2), 1, chunk_of(1));     // another version
  sender.send(network.stream, 2, chunk_of(3));            // other bytes
  sender.send(network.stream, 5, chunk_of(5));            // one that is not wanted
  sender.send(network.stream, 6, Bytes(chunk_size / 2));  // too short
  sender.send(network.stream, 1000, chunk_of(1));         // beyond the end
  const Bytes noise(1000, std::byte{'x'});
  REQUIRE(::write(open_sender(network.group).get(), noise.data(), noise.size()) == 1000);
  sender.send(network.stream, 7, chunk_of(7));
  REQUIRE(has_chunk(*receiver, 7));
  for (const std::uint64_t chunk : {1U, 2U, 5U, 6U, 1000U})
    CHECK_FALSE(receiver->cache().has(chunk, Clock::now()));
  CHECK(receiver->counters().wrong == 1);
  CHECK(receiver->counters().foreign > 1);
  CHECK(receiver->counters().unwanted > 2);
  // What was wrong may come again, and be right.
  sender.send(network.stream, 2, chunk_of(2));
  CHECK(has_chunk(*receiver, 2));
}

TEST_CASE("multicast: what is not waited for is bounded") {
  const Network network("239.192.77.3");
  const auto receiver = network.receiver(4 * chunk_size);
  MulticastSender sender = network.sender();
  for (std::uint32_t chunk = 0; chunk < 40; ++chunk)
    sender.send(network.stream, chunk, chunk_of(chunk));
  // Packets may have been lost, since nothing was waited for.
  for (int tries = 0; tries < 100 && !receiver->wait_for(39, Clock::now() + 100ms); ++tries)
    sender.send(network.stream, 39, chunk_of(39));
  REQUIRE(receiver->wait_for(39, Clock::now()));
  CHECK(receiver->cache().counters().bytes <= 4 * chunk_size);
  CHECK_FALSE(receiver->wait_for(0, Clock::now() + 10ms));
}

TEST_CASE("multicast: no faster than the rate") {
  const Network network("239.192.77.4");
  MulticastSender sender = network.sender(4 << 20);
  const auto begin = Clock::now();
  for (std::uint32_t chunk = 0; chunk < 20; ++chunk)
    sender.send(network.stream, chunk, chunk_of(chunk));
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  // But for the burst at the beginning.
  CHECK(seconds.count() >= (20.0 * chunk_size - (256 << 10)) / (4 << 20));
}

TEST_CASE("multicast: what is no group is refused") {
  CHECK(error_of([] { GroupAddress({"example", 1, "", 1}); }).code() == EINVAL);
  CHECK(error_of([] { GroupAddress({"fe80::1", 1, "", 1}); }).code() == EINVAL);
  CHECK(error_of([] { GroupAddress({"239.1.1.1", 1, "none77", 1}); }).code() == ENODEV);
  MulticastSender::Options options;
  options.group = own_group("239.192.77.5");
  options.packet_size = 100;
  CHECK(error_of([&] { MulticastSender{options}; }).code() == EINVAL);
}
