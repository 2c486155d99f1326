// The parts of multicast that know no network: packets, chunks put together, what is kept of them,
// and when may be sent.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "multicast/chunk_assembly.hpp"
#include "multicast/chunk_cache.hpp"
#include "multicast/packet.hpp"
#include "multicast/token_bucket.hpp"

using namespace plydisk;
using namespace std::chrono_literals;

namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);
  return bytes;
}

// The packets of a chunk, as they are sent.
std::vector<Bytes> packets_of(const Bytes& chunk, std::uint32_t number, std::uint16_t stride) {
  std::vector<Bytes> all;
  Packet packet;
  packet.chunk = number;
  packet.chunk_length = static_cast<std::uint32_t>(chunk.size());
  packet.stride = stride;
  for (; packet.index < packet.count(); ++packet.index) {
    const std::size_t length = piece_length(packet);
    Bytes bytes(Packet::header_size + length);
    write_header(packet, bytes.data());
    std::copy_n(chunk.begin() + static_cast<std::ptrdiff_t>(packet.offset()), length,
                bytes.begin() + Packet::header_size);
    all.push_back(std::move(bytes));
  }
  return all;
}

std::optional<ChunkAssembly::Chunk> hear(ChunkAssembly& assembly, const std::vector<Bytes>& all) {
  std::optional<ChunkAssembly::Chunk> whole;
  for (const Bytes& bytes : all)
    if (auto chunk = assembly.add(parse_packet(bytes).value())) whole = std::move(chunk);
  return whole;
}

}  // namespace

TEST_CASE("a packet says what it is of") {
  Packet packet;
  packet.sender = 0x01020304;
  packet.sequence = 0x0102030405060708;
  packet.stream = stream_id("0b1d", 3);
  packet.chunk = 77;
  packet.chunk_length = 4000;
  packet.stride = 1500;
  packet.index = 2;
  Bytes bytes(Packet::header_size + 1000, std::byte{7});
  write_header(packet, bytes.data());
  const auto parsed = parse_packet(bytes);
  REQUIRE(parsed);
  CHECK(parsed->sender == packet.sender);
  CHECK(parsed->sequence == packet.sequence);
  CHECK(parsed->stream == packet.stream);
  CHECK(parsed->chunk == 77);
  CHECK(parsed->count() == 3);
  CHECK(parsed->offset() == 3000);
  CHECK(parsed->piece.size() == 1000);
  CHECK(stream_id("0b1d", 3) != stream_id("0b1d", 4));
  CHECK(stream_id("0b1d", 3) != stream_id("0b1e", 3));
}

TEST_CASE("what is no packet is none") {
  const Bytes good = packets_of(random_bytes(4000, 1), 5, 1500).back();
  REQUIRE(parse_packet(good));
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK_FALSE(parse_packet(std::span(good).first(size)));
  Bytes longer = good;
  longer.push_back({});
  CHECK_FALSE(parse_packet(longer));
  for (const std::size_t at : {0U, 36U, 39U, 41U, 43U}) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x40};
    CHECK_FALSE(parse_packet(bad));
  }
  Bytes no_stride = good;
  no_stride[40] = no_stride[41] = {};
  CHECK_FALSE(parse_packet(no_stride));
}

TEST_CASE("a chunk is put together from packets in any order, and repeated ones") {
  for (const std::size_t size : {chunk_size, std::uint64_t{512}, std::uint64_t{1}}) {
    const Bytes chunk = random_bytes(size, 2);
    std::vector<Bytes> packets = packets_of(chunk, 9, 1352);
    std::shuffle(packets.begin(), packets.end(), std::mt19937(3));
    ChunkAssembly assembly(4);
    std::vector<Bytes> twice = packets;
    if (packets.size() > 1) twice.insert(twice.begin(), packets.begin(), packets.end() - 1);
    const auto whole = hear(assembly, twice);
    REQUIRE(whole);
    CHECK(whole->number == 9);
    CHECK(whole->bytes == chunk);
    CHECK(assembly.counters().repeated == packets.size() - 1);
  }
}

TEST_CASE("a chunk of which a packet is lost is not there, and makes room") {
  ChunkAssembly assembly(2);
  std::vector<Bytes> lost = packets_of(random_bytes(4000, 1), 1, 1000);
  const Bytes missing = lost.back();
  lost.pop_back();
  CHECK_FALSE(hear(assembly, lost));
  for (const std::uint32_t other : {2U, 3U}) {
    std::vector<Bytes> part = packets_of(random_bytes(4000, other), other, 1000);
    part.pop_back();
    CHECK_FALSE(hear(assembly, part));
  }
  CHECK(assembly.counters().crowded_out == 1);
  CHECK_FALSE(assembly.add(parse_packet(missing).value()));
  CHECK(hear(assembly, packets_of(random_bytes(4000, 9), 9, 1000)));
}

TEST_CASE("packets of two sizes make no chunk together") {
  const Bytes chunk = random_bytes(4000, 1);
  ChunkAssembly assembly(4);
  assembly.add(parse_packet(packets_of(chunk, 1, 999).front()).value());
  CHECK_FALSE(hear(assembly, packets_of(chunk, 1, 1000)));
  CHECK(assembly.counters().misfitting == 4);
  assembly.forget(1);
  CHECK(hear(assembly, packets_of(chunk, 1, 1000)));
}

TEST_CASE("what was heard is kept until it was read") {
  const ChunkCache::Clock::time_point now{};
  ChunkCache cache(1 << 20, 10s);
  const Bytes chunk = random_bytes(chunk_size, 1);
  cache.put(3, chunk, now);
  Bytes out(4096);
  for (std::size_t at = 0; at < chunk_size; at += out.size()) {
    REQUIRE(cache.read(3, at, out, now));
    REQUIRE(std::equal(out.begin(), out.end(), chunk.begin() + static_cast<std::ptrdiff_t>(at)));
  }
  CHECK_FALSE(cache.has(3, now));
  CHECK(cache.counters().bytes == 0);
  CHECK(cache.counters().used == 1);

  SUBCASE("parts of sectors don't count as read") {
    cache.put(3, chunk, now);
    Bytes part(chunk_size - 1);
    CHECK(cache.read(3, 1, part, now));
    CHECK(cache.has(3, now));
  }
  SUBCASE("the last chunk of a disk is short") {
    cache.put(4, random_bytes(700, 2), now);
    Bytes whole(700), more(701);
    CHECK_FALSE(cache.read(4, 0, more, now));
    CHECK(cache.read(4, 0, whole, now));
    CHECK_FALSE(cache.has(4, now));
  }
  SUBCASE("or until it is written") {
    cache.put(3, chunk, now);
    cache.drop(3);
    CHECK_FALSE(cache.read(3, 0, out, now));
  }
}

TEST_CASE("what was heard goes with its age, and when there is no room") {
  ChunkCache::Clock::time_point now{};
  ChunkCache cache(3 * chunk_size, 10s);
  for (std::uint64_t chunk = 0; chunk < 5; ++chunk) {
    now += 1s;
    cache.put(chunk, Bytes(chunk_size), now);
    CHECK(cache.counters().bytes <= 3 * chunk_size);
  }
  CHECK(cache.counters().crowded_out == 2);
  CHECK_FALSE(cache.has(1, now));
  CHECK(cache.has(2, now));
  Bytes out(512);
  CHECK(cache.read(2, 0, out, now));
  CHECK(cache.has(4, now + 10s));
  CHECK_FALSE(cache.has(4, now + 11s));
  CHECK(cache.counters().aged == 2);  // one of three was of use
  CHECK(cache.counters().bytes == 0);
  ChunkCache tiny(100, 10s);
  tiny.put(1, Bytes(101), now);
  CHECK_FALSE(tiny.has(1, now));
}

TEST_CASE("a rate is kept over time, and a burst is allowed") {
  TokenBucket::Clock::time_point now{};
  TokenBucket bucket(1000, 500, now);
  CHECK(bucket.take(500, now) == 0s);
  CHECK(bucket.take(250, now) == 250ms);
  now += 250ms;
  CHECK(bucket.take(100, now) == 100ms);
  now += 1h;
  CHECK(bucket.take(500, now) == 0s);
  CHECK(bucket.take(1000, now) == 1s);
  bucket.set_rate(2000, now);
  CHECK(bucket.take(0, now) == 500ms);
}
