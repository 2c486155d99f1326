// What the unit tests share.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "base/error.hpp"
#include "temporary_directory.hpp"

namespace plydisk::test {

// The error that `run` throws; code 0 if it throws none.
template <typename Fn>
Error error_of(Fn&& run) {
  try {
    run();
  } catch (const Error& error) {
    return error;
  }
  return Error(0, "no error");
}

inline bool mentions(const Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

}  // namespace plydisk::test
