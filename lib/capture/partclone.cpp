#include "capture/partclone.hpp"

#include <array>
#include <charconv>
#include <sstream>
#include <utility>

#include "base/error.hpp"
#include "base/program.hpp"

namespace plydisk {

std::optional<std::string> partclone_program(std::string_view type) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> programs{{
      {"ntfs", "partclone.ntfs"},
      {"vfat", "partclone.vfat"},
      {"xfs", "partclone.xfs"},
      {"btrfs", "partclone.btrfs"},
  }};
  for (const auto& [name, program] : programs)
    if (name == type) return std::string(program);
  return {};
}

Ranges partclone_free(const std::string& program, const std::string& path, std::uint64_t begin) {
  const ProgramResult result =
      run_program({program, "--domain", "--offset_domain=" + std::to_string(begin), "--source",
                   path, "--output", "-", "--logfile", "/dev/null"});
  if (result.status != 0) throw Error(EIO, program + ": " + result.complaint());
  return free_in_domain(result.output);
}

Ranges free_in_domain(const std::string& domain) {
  Ranges free;
  std::uint64_t covered = 0, first = 0;
  bool has_position = false, has_ranges = false;
  std::istringstream lines(domain);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.front() == '#') continue;
    // The first line is a position, all others are ranges: hexadecimal numbers and a status.
    std::istringstream words(line);
    std::string status;
    std::uint64_t begin = 0, length = 0;
    if (!std::exchange(has_position, true)) continue;
    words >> std::hex >> begin >> length >> status;
    if (!words || (status != "+" && status != "?") || (has_ranges && begin != covered) ||
        length > UINT64_MAX - begin)
      throw Error(EIO, "partclone's map has a line that is no range: " + line);
    if (!std::exchange(has_ranges, true)) first = begin;
    covered = begin + length;
    if (status == "?") free.add({begin, covered});
  }
  if (!has_ranges || covered == first) throw Error(EIO, "partclone's map is empty");
  return free;
}

}  // namespace plydisk
