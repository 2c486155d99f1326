// What nbd-slices is told on its command line.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

enum class Operation { read, write, mixed, write_flush, write_fua };
enum class Pattern {
  random,
  sequential,  // from a random start, round and round
  once,        // random, but no block a second time
};

struct ServerSpec {
  std::string name;
  std::string uri;  // "{}" stands for the number of the connection
  pid_t pid = 0;    // whose processor time is counted; 0: nobody's
};

struct Options {
  Operation operation = Operation::read;
  Pattern pattern = Pattern::random;
  std::uint64_t block = 4096;  // bytes of one request
  unsigned depth = 16;         // requests in flight on each connection
  unsigned connections = 1;    // to each server
  unsigned rounds = 20;        // in each of which every server gets one slice
  unsigned slice_ms = 200;     // how long a slice is, unless slice_operations says
  std::uint64_t slice_operations = 0;
  std::uint64_t skip = 0;        // Pattern::once: leave out the first so many blocks
  std::uint64_t own_region = 0;  // bytes: connection i writes in the i-th region of this size alone
  unsigned check = 0;            // this many blocks must read alike on all servers beforehand
  std::uint64_t seed = 1;
  std::vector<std::string> pins;  // files whose cached pages are to stay cached
  std::vector<ServerSpec> servers;
};

// Prints what is wrong and exits with 2 if the command line makes no sense.
Options parse_options(int argc, char** argv);

}  // namespace bench
