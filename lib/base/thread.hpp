// Threads of a library in somebody else's program.
#pragma once

#include <signal.h>

#include <system_error>
#include <thread>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

// The host program's signals are for its own threads. Throws Error if there can't be another
// thread.
template <typename Fn>
std::thread start_without_signals(Fn run) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(run));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw_errno(error.code().value(), "cannot start a thread");
  }
}

}  // namespace plydisk
