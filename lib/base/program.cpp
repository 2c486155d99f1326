#include "base/program.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "base/error.hpp"

namespace plydisk {

namespace {

constexpr auto patience_at_end = std::chrono::seconds(5);

UniqueFd memory_file(const char* name) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file) throw_errno("cannot make a file in memory");
  return file;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> plain_environment() {
  std::vector<std::string> variables{"LC_ALL=C"};
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view(*variable).starts_with("LC_ALL=")) variables.emplace_back(*variable);
  return variables;
}

// In the child. Only calls that are safe there: this process may have more threads.
[[noreturn]] void become(const char* path, char* const* arguments, char* const* environment,
                         pid_t parent, int in, int out, int errors) {
  // What this process ignores, handles or blocks is not the program's business.
  for (const int signal : {SIGPIPE, SIGTERM, SIGINT, SIGHUP}) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  if (::getppid() != parent) ::_exit(127);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(errors, 2);
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execve(path, arguments, environment);
  ::_exit(127);
}

std::string last_line(std::string_view text) {
  const auto end = text.find_last_not_of("\r\n ");
  if (end == text.npos) return {};
  text = text.substr(0, end + 1);
  const auto before = text.find_last_of("\r\n");
  return std::string(before == text.npos ? text : text.substr(before + 1));
}

bool is_there(const Requirement& needed) {
  std::error_code ignored;
  return needed.name.starts_with('/') ? std::filesystem::exists(needed.name, ignored)
                                      : find_program(needed.name).has_value();
}

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(text);
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

}  // namespace

std::optional<std::filesystem::path> find_program(const std::string& name) {
  const char* const set = std::getenv("PATH");
  // Those that make file systems are not in the path of ordinary users.
  std::istringstream folders(std::string(set == nullptr ? "" : set) + ":/usr/sbin:/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const auto path = std::filesystem::path(folder.empty() ? "." : folder) / name;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0)
      return path;
  }
  return std::nullopt;
}

void require_installed(const std::vector<Requirement>& needed, const std::string& purpose) {
  std::vector<std::string> names, packages;
  for (const Requirement& it : needed) {
    if (is_there(it)) continue;
    add_once(names, it.name);
    add_once(packages, it.package);
  }
  if (names.empty()) return;
  throw Error(ENOENT, joined(names, ", ") + (names.size() == 1 ? " is" : " are") + " needed " +
                          purpose + ", and missing; install with: apt install " +
                          joined(packages, " "));
}

Program::Program(const std::vector<std::string>& words, const std::string& input, Errors errors)
    : name_(words.front()) {
  const auto path = find_program(name_);
  if (!path) throw Error(ENOENT, name_ + " is not installed");
  const UniqueFd in = memory_file("input");
  if (::write(in.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()) ||
      ::lseek(in.get(), 0, SEEK_SET) != 0)
    throw_errno("cannot write to memory");
  if (errors == Errors::kept) errors_ = memory_file("errors");
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("cannot make a pipe");
  output_.reset(ends[0]);
  const UniqueFd out(ends[1]);
  const auto arguments = pointers_to(words);
  const auto variables = plain_environment();
  const auto environment = pointers_to(variables);
  const pid_t self = ::getpid();
  // No handler of this process runs in the child.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_ = ::fork();
  if (pid_ == 0)
    become(path->c_str(), arguments.data(), environment.data(), self, in.get(), out.get(),
           errors == Errors::kept ? errors_.get() : STDERR_FILENO);
  const int failure = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid_ < 0) throw_errno(failure, "cannot start " + name_);
}

Program::~Program() {
  if (!is_running()) return;
  ::kill(pid_, SIGTERM);
  const auto give_up = std::chrono::steady_clock::now() + patience_at_end;
  while (is_running()) {
    if (std::chrono::steady_clock::now() >= give_up) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void Program::read_output(const std::function<void(std::string_view)>& fn) {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(output_.get(), buffer.data(), buffer.size());
    if (got == 0) return;
    if (got > 0)
      fn({buffer.data(), static_cast<std::size_t>(got)});
    else if (errno == EINTR)
      fn({});  // who waits may have been told to stop
    else
      throw_errno("cannot read what " + name_ + " prints");
  }
}

bool Program::is_running() {
  if (pid_ >= 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  return pid_ >= 0;
}

ProgramResult Program::finish() {
  while (pid_ >= 0)
    if (::waitpid(pid_, &status_, 0) == pid_) pid_ = -1;
  std::string errors(
      static_cast<std::size_t>(std::max<off_t>(0, ::lseek(errors_.get(), 0, SEEK_END))), '\0');
  const ssize_t got = ::pread(errors_.get(), errors.data(), errors.size(), 0);
  errors.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_), {}, errors};
}

void Program::require_success() {
  const ProgramResult result = finish();
  if (result.status != 0) throw Error(EIO, complaint(result));
}

std::string Program::complaint(const ProgramResult& result) const {
  const std::string text = result.complaint();
  return text.starts_with(name_ + ": ") ? text : name_ + ": " + text;
}

std::string ProgramResult::complaint() const {
  std::string line = last_line(errors);
  if (line.empty()) line = last_line(output);
  return line.empty() ? "it ended with status " + std::to_string(status) : line;
}

namespace {

ProgramResult run_to_end(Program& program) {
  std::string output;
  program.read_output([&](std::string_view part) { output += part; });
  ProgramResult result = program.finish();
  result.output = std::move(output);
  return result;
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& words, const std::string& input) {
  Program program(words, input);
  return run_to_end(program);
}

std::string output_of(const std::vector<std::string>& words, const std::string& input) {
  Program program(words, input);
  ProgramResult result = run_to_end(program);
  if (result.status != 0) throw Error(EIO, program.complaint(result));
  return std::move(result.output);
}

}  // namespace plydisk
