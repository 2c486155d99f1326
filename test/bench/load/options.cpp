#include "options.hpp"

#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace bench {
namespace {

constexpr const char* usage =
    "usage: nbd-slices [OPTION]... NAME=URI[,PID]...\n"
    "Drives several NBD servers with the same work in alternating short slices, and prints\n"
    "what each did in each slice as JSON.\n"
    "  --operation read|write|mixed|write-flush|write-fua   mixed: 70 % reads\n"
    "  --pattern random|sequential|once                     once: random, no block twice\n"
    "  --block BYTES  --depth N  --connections N            of each server\n"
    "  --rounds N  --slice-ms N | --slice-operations N\n"
    "  --skip N           with `once`: leave out the first N blocks\n"
    "  --own-region BYTES connection i writes only in the i-th region of this size\n"
    "  --check N          first compare N blocks between the servers\n"
    "  --seed N           same seed, same requests\n"
    "  --pin FILE         keep what is cached of this file in memory; may be repeated\n";

[[noreturn]] void wrong(const std::string& sentence) {
  std::fprintf(stderr, "nbd-slices: %s\n%s", sentence.c_str(), usage);
  std::exit(2);
}

std::uint64_t number(const char* option, const char* text) {
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc{} || rest != end) {
    wrong(std::string("--") + option + " takes a number, not \"" + text + "\"");
  }
  return value;
}

template <typename T>
T choice(const char* option, const char* text, const std::map<std::string, T>& choices) {
  const auto found = choices.find(text);
  if (found == choices.end()) wrong(std::string("--") + option + " does not know \"" + text + "\"");
  return found->second;
}

ServerSpec parse_server(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) wrong("\"" + text + "\" is not NAME=URI[,PID]");
  ServerSpec server;
  server.name = text.substr(0, equals);
  server.uri = text.substr(equals + 1);
  if (const std::size_t comma = server.uri.rfind(','); comma != std::string::npos) {
    server.pid = static_cast<pid_t>(number("server", server.uri.substr(comma + 1).c_str()));
    server.uri.resize(comma);
  }
  return server;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  const char* const names[] = {
      "operation", "pattern",    "block", "depth", "connections", "rounds",          "slice-ms",
      "skip",      "own-region", "check", "seed",  "pin",         "slice-operations"};
  std::vector<option> table;
  for (const char* name : names) table.push_back({name, required_argument, nullptr, 0});
  table.push_back({nullptr, 0, nullptr, 0});

  Options options;
  int index = 0;
  for (int got; (got = getopt_long(argc, argv, "", table.data(), &index)) != -1;) {
    if (got != 0) wrong("unknown option");
    const std::string name = names[index];
    const auto value = [&] { return number(names[index], optarg); };
    if (name == "operation") {
      options.operation = choice<Operation>(names[index], optarg,
                                            {{"read", Operation::read},
                                             {"write", Operation::write},
                                             {"mixed", Operation::mixed},
                                             {"write-flush", Operation::write_flush},
                                             {"write-fua", Operation::write_fua}});
    } else if (name == "pattern") {
      options.pattern = choice<Pattern>(names[index], optarg,
                                        {{"random", Pattern::random},
                                         {"sequential", Pattern::sequential},
                                         {"once", Pattern::once}});
    } else if (name == "pin") {
      options.pins.emplace_back(optarg);
    } else if (name == "block") {
      options.block = value();
    } else if (name == "slice-operations") {
      options.slice_operations = value();
    } else if (name == "skip") {
      options.skip = value();
    } else if (name == "own-region") {
      options.own_region = value();
    } else if (name == "seed") {
      options.seed = value();
    } else {
      const auto small = static_cast<unsigned>(value());
      if (name == "depth") options.depth = small;
      if (name == "connections") options.connections = small;
      if (name == "rounds") options.rounds = small;
      if (name == "slice-ms") options.slice_ms = small;
      if (name == "check") options.check = small;
    }
  }
  for (int i = optind; i < argc; ++i) options.servers.push_back(parse_server(argv[i]));
  if (options.servers.empty()) wrong("name at least one server");
  if (options.block == 0 || options.block % 512 != 0 || options.depth == 0 ||
      options.connections == 0) {
    wrong("block, depth and connections must be positive, the block a multiple of 512");
  }
  return options;
}

}  // namespace bench
