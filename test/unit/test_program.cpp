// Other programs, and what is said when they fail or are missing.
#include <chrono>

#include "base/error.hpp"
#include "base/program.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;

namespace {

std::string failure(const std::vector<std::string>& words) {
  return error_of([&] { output_of(words); }).what();
}

}  // namespace

TEST_CASE("a program gets its words and its input as they are") {
  CHECK(output_of({"printf", "%s|", "a b", "$HOME", "*", "it's"}) == "a b|$HOME|*|it's|");
  const std::string input(300'000, 'x');
  CHECK(output_of({"cat"}, input) == input);
  CHECK(output_of({"sh", "-c", "echo $LC_ALL"}) == "C\n");
}

TEST_CASE("a program that fails is quoted with the last line that it complained of") {
  CHECK(failure({"sh", "-c", "echo first >&2; echo 'sh: last' >&2; exit 3"}) == "sh: last");
  CHECK(failure({"sh", "-c", "echo out; echo of order >&2; exit 3"}) == "sh: of order");
  CHECK(failure({"false"}) == "false: it ended with status 1");
  CHECK(failure({"sh", "-c", "kill -9 $$"}) == "sh: it ended with status 137");
  CHECK(failure({"no-such-program"}) == "no-such-program is not installed");
}

TEST_CASE("a program that is not waited for is ended") {
  const auto start = std::chrono::steady_clock::now();
  {
    Program program({"sleep", "60"});
    CHECK(program.is_running());
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(4));
}

TEST_CASE("what is missing is named with its packages") {
  require_installed({{"sh", "dash"}, {"/etc/passwd", "base-passwd"}}, "to go on");
  const Error error = error_of([] {
    require_installed(
        {{"sh", "dash"}, {"no-such-a", "one"}, {"/no/such/b", "two"}, {"no-such-c", "one"}},
        "to go on");
  });
  CHECK(error.code() == ENOENT);
  CHECK(std::string(error.what()) ==
        "no-such-a, /no/such/b, no-such-c are needed to go on, and missing; install with: "
        "apt install one two");
}
