#include "verb_killer.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "base/file.hpp"

namespace plydisk::torture {

namespace {

// SQLite's files are watched if it is there when they are opened; it counts once it is armed.
class Executioner final : public StorageObserver {
 public:
  void arm(std::uint64_t deadly) {
    left_ = deadly;
    is_armed_ = true;
  }

  void on_write(const std::string&, std::uint64_t, std::span<const std::byte>) override { step(); }
  void on_punch(const std::string&, std::uint64_t, std::uint64_t) override { step(); }
  void on_truncate(const std::string&, std::uint64_t) override { step(); }
  void on_sync(const std::string&) override { step(); }
  void on_create(const std::string&) override { step(); }
  void on_remove(const std::string&) override { step(); }
  void on_rename(const std::string&, const std::string&) override { step(); }
  void on_link(const std::string&, const std::string&) override { step(); }
  void on_sync_directory(const std::string&) override { step(); }

 private:
  void step() {
    if (is_armed_.load() && left_.fetch_sub(1) == 0) ::kill(::getpid(), SIGKILL);
  }
  std::atomic<bool> is_armed_{false};
  std::atomic<std::uint64_t> left_{0};
};

[[noreturn]] void run_child(const VersionScenario& scenario, const std::filesystem::path& folder,
                            const std::string& boot, const VersionModel& model,
                            std::uint64_t deadly) {
  constexpr int failed = 1;
  Executioner executioner;
  storage_observer = &executioner;
  try {
    VersionWorld world(folder, boot, false);
    world.model() = model;
    world.open();
    if (scenario.go_live) scenario.go_live(world);
    executioner.arm(deadly);
    scenario.verb(world);
    // Without any destructor.
    ::_exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    ::_exit(failed);
  }
}

}  // namespace

bool kill_in_verb(const VersionScenario& scenario, const std::filesystem::path& folder,
                  const std::string& boot, const VersionModel& model, std::uint64_t deadly) {
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) run_child(scenario, folder, boot, model, deadly);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("cannot wait for a child");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return false;
  throw std::runtime_error("the verb failed in a process of its own");
}

}  // namespace plydisk::torture
