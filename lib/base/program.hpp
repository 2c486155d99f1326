// Other programs, run by vectors of words: no shell sees any of them.
//
// They see LC_ALL=C, so that what they print can be read. They end when this process does, however
// it ends. Thread safety: an object is used by one thread at a time, which must be the one that
// started it and must outlive it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"

namespace plydisk {

// Where a program is: in $PATH, or in a folder of the system's programs.
std::optional<std::filesystem::path> find_program(const std::string& name);

// A file or program that something needs, and the Debian package that has it.
struct Requirement {
  std::string name;  // an absolute path is a file
  std::string package;
};
// Throws Error(ENOENT) with a sentence that names all that is missing, and what to install.
// `purpose`: such as "to make an ext4 file system".
void require_installed(const std::vector<Requirement>& needed, const std::string& purpose);

struct ProgramResult {
  int status = 0;      // as from exit; 128 and the signal's number if one ended it
  std::string output;  // standard output
  std::string errors;  // standard error
  // The last line of what it complained of, or of its output; or its status, if it said nothing.
  std::string complaint() const;
};

// Runs the program `words[0]` to its end, with `input` to read. Throws Error: ENOENT if there is no
// such program.
ProgramResult run_program(const std::vector<std::string>& words, const std::string& input = {});
// Likewise. Returns what it printed; throws Error(EIO) with what it complained of if it failed.
std::string output_of(const std::vector<std::string>& words, const std::string& input = {});

// One that runs beside this process.
class Program {
 public:
  // Where its standard error goes: into its result, or where this process's goes.
  enum class Errors { kept, shown };
  // Starts it. Throws as run_program().
  explicit Program(const std::vector<std::string>& words, const std::string& input = {},
                   Errors errors = Errors::kept);
  // Ends it, if it still runs: asks it to, and kills it after a while.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Calls fn with each part of what it prints, until it ends or closes its output; and with nothing
  // when a signal came to this process, for fn may want to give up then.
  void read_output(const std::function<void(std::string_view)>& fn);
  bool is_running();
  // Waits for its end. What read_output() read is not in the result.
  ProgramResult finish();
  // Waits for its end, and throws Error(EIO) with what it complained of if it failed.
  void require_success();
  // "NAME: what it complained of".
  std::string complaint(const ProgramResult& result) const;

 private:
  std::string name_;
  pid_t pid_ = -1;  // -1: it has ended
  int status_ = 0;  // as of wait(2)
  UniqueFd output_, errors_;
};

}  // namespace plydisk
