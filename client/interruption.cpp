#include "interruption.hpp"

#include <ctime>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

volatile std::sig_atomic_t signal_came = 0;
volatile std::sig_atomic_t came_at = 0;  // seconds

// A second one that comes with the first one is no second wish: timeout(1) sends two.
void note_signal(int signal) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto seconds = static_cast<std::sig_atomic_t>(now.tv_sec);
  if (signal_came != 0 && seconds - came_at > 1) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
  }
  if (signal_came == 0) came_at = seconds;
  signal_came = signal;
}

}  // namespace

Interruption::Interruption(std::string sentence) : sentence_(std::move(sentence)) {
  signal_came = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  for (std::size_t i = 0; i < signals.size(); ++i) {
    ::sigaction(signals[i], nullptr, &before_[i]);
    // What the shell ignores for a command in the background stays so.
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(signals[i], &action, nullptr);
  }
}

Interruption::~Interruption() {
  for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
}

bool Interruption::has_come() const noexcept { return signal_came != 0; }

void Interruption::check() const {
  if (has_come()) throw Error(EINTR, sentence_);
}

int Interruption::last_signal() noexcept { return signal_came; }

}  // namespace plydisk
