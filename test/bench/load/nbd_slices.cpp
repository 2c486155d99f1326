// nbd-slices: compares NBD servers on a noisy machine. It keeps its connections to all of them
// open and gives each a short slice of the same work in turn, in a new random order each round, so
// that what disturbs the machine disturbs all of them. The ratios of one round are what to look
// at, and their median. A server that gets as many operations as another (--slice-operations) also
// gets the very same ones, so that files have the same history.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <exception>
#include <random>
#include <stdexcept>

#include "options.hpp"
#include "pinned_file.hpp"
#include "server.hpp"

namespace {

using bench::Options;
using bench::Server;
using bench::Slice;

// A fast server that reads something else proves nothing.
void require_same_content(const Options& options, std::deque<Server>& servers) {
  std::mt19937_64 random(options.seed);
  const std::uint64_t blocks = servers.front().disk_bytes() / 4096;
  std::vector<char> expected(4096), got(4096);
  for (unsigned i = 0; i < options.check; ++i) {
    const std::uint64_t offset = random() % blocks * 4096;
    servers.front().read(expected, offset);
    for (Server& server : servers) {
      server.read(got, offset);
      if (got != expected) {
        throw std::runtime_error("at byte " + std::to_string(offset) + ", " + server.spec().name +
                                 " reads otherwise than " + servers.front().spec().name);
      }
    }
  }
}

void print(const std::deque<Server>& servers, const std::vector<std::vector<Slice>>& slices,
           const std::vector<double>& cpu_seconds) {
  std::printf("{\"servers\": [");
  for (std::size_t s = 0; s < servers.size(); ++s) {
    std::printf("%s\n  {\"name\": \"%s\", \"cpu_seconds\": %.6f, \"slices\": [", s ? "," : "",
                servers[s].spec().name.c_str(), cpu_seconds[s]);
    for (std::size_t i = 0; i < slices[s].size(); ++i) {
      std::printf("%s[%llu, %.6f, %.6f]", i ? ", " : "",
                  static_cast<unsigned long long>(slices[s][i].operations), slices[s][i].seconds,
                  slices[s][i].cpu_seconds);
    }
    std::printf("]}");
  }
  std::printf("\n]}\n");
}

void run(const Options& options) {
  std::deque<Server> servers;
  for (const bench::ServerSpec& spec : options.servers) servers.emplace_back(options, spec);
  for (const Server& server : servers) {
    if (server.disk_bytes() != servers.front().disk_bytes()) {
      throw std::runtime_error("the disks of the servers are not of one size");
    }
  }
  bench::Permutation permutation;
  if (options.pattern == bench::Pattern::once) {
    permutation =
        bench::make_permutation(servers.front().disk_bytes() / options.block, options.seed);
  }
  for (Server& server : servers) server.prepare(permutation);
  require_same_content(options, servers);
  std::vector<bench::PinnedFile> pinned;
  for (const std::string& path : options.pins) pinned.emplace_back(path);

  std::mt19937_64 random(options.seed);
  std::vector<std::vector<Slice>> slices(servers.size());
  // Over the whole run, so that work which a server puts off into the others' slices counts too.
  std::vector<double> cpu_seconds;
  for (const Server& server : servers) cpu_seconds.push_back(-server.cpu_seconds());
  std::vector<std::size_t> order(servers.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (unsigned round = 0; round < options.rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t s : order) slices[s].push_back(servers[s].run_slice());
  }
  for (std::size_t s = 0; s < servers.size(); ++s) cpu_seconds[s] += servers[s].cpu_seconds();
  print(servers, slices, cpu_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = bench::parse_options(argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nbd-slices: %s\n", error.what());
    return 1;
  }
  return 0;
}
