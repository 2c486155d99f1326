// What all torture tests take on their command lines.
#pragma once

#include <cstdint>
#include <string>

namespace plydisk::torture {

struct Options {
  std::uint64_t seed = 1;
  unsigned states = 1000;  // disk states to rebuild and check
  unsigned minutes = 0;    // go on with new seeds for so long
  unsigned rounds = 20;    // of kill and restart
  std::string broken;      // which part to break, to prove that it is noticed
  std::string only;        // the name of what is to be tested alone; empty: all
  bool station = false;    // a station's store above a server, instead of a server's store alone
  bool keep = false;       // leave the files there
};

// False, after a message, if the arguments are not understood.
bool parse_options(Options& options, int argc, char** argv);

// Whether a test with so many faults has passed: one in which something was broken must have some,
// and says so.
bool has_passed(const Options& options, unsigned faults);

}  // namespace plydisk::torture
