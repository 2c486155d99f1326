// Work that is to clean up behind itself when the user stops it with Ctrl-C, or by another signal
// that asks for an end: while an object lives, these only wake what waits, and check() throws. Who
// asks again after a while gets an end at once.
#pragma once

#include <array>
#include <csignal>
#include <string>

namespace plydisk {

// Thread safety: one thread, and one object at a time.
class Interruption {
 public:
  // `sentence`: what check() tells the user.
  explicit Interruption(std::string sentence = "interrupted: nothing was made");
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  bool has_come() const noexcept;
  // Throws Error(EINTR) once such a signal has come.
  void check() const;
  // The signal that has come to the last object; 0: none.
  static int last_signal() noexcept;

 private:
  static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP};
  const std::string sentence_;
  std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace plydisk
