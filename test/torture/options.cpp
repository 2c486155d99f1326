#include "options.hpp"

#include <getopt.h>

#include <cstdio>
#include <cstdlib>

namespace plydisk::torture {

bool parse_options(Options& options, int argc, char** argv) {
  static const option known[] = {{"seed", required_argument, nullptr, 's'},
                                 {"states", required_argument, nullptr, 'n'},
                                 {"minutes", required_argument, nullptr, 'm'},
                                 {"rounds", required_argument, nullptr, 'r'},
                                 {"broken", required_argument, nullptr, 'b'},
                                 {"station", no_argument, nullptr, 't'},
                                 {"keep", no_argument, nullptr, 'k'},
                                 {"only", required_argument, nullptr, 'o'},
                                 {nullptr, 0, nullptr, 0}};
  for (int got; (got = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    const auto number = [] { return std::strtoull(optarg, nullptr, 0); };
    switch (got) {
      case 's':
        options.seed = number();
        break;
      case 'n':
        options.states = static_cast<unsigned>(number());
        break;
      case 'm':
        options.minutes = static_cast<unsigned>(number());
        break;
      case 'r':
        options.rounds = static_cast<unsigned>(number());
        break;
      case 'b':
        options.broken = optarg;
        break;
      case 'o':
        options.only = optarg;
        break;
      case 't':
        options.station = true;
        break;
      case 'k':
        options.keep = true;
        break;
      default:
        std::fprintf(stderr,
                     "usage: %s [--seed N] [--states N] [--minutes N] [--rounds N]"
                     " [--broken data-sync|index-sync|image-sync|name-sync] [--only NAME]"
                     " [--station] [--keep]\n",
                     argv[0]);
        return false;
    }
  }
  return true;
}

bool has_passed(const Options& options, unsigned faults) {
  if (options.broken.empty()) return faults == 0;
  std::printf("without the %s: %s\n", options.broken.c_str(),
              faults > 0 ? "found, as it must be" : "NOT FOUND: this test sees nothing");
  return faults > 0;
}

}  // namespace plydisk::torture
