// No exception may cross into nbdkit: every callback that can throw runs inside guarded().
#pragma once

#include <nbdkit-plugin.h>

#include <cerrno>
#include <exception>
#include <new>

#include "base/error.hpp"

namespace plydisk {

// The errors that the NBD protocol knows; all others are I/O errors to the client.
inline int wire_error(int code) {
  if (is_disk_full(code)) return ENOSPC;
  switch (code) {
    case EPERM:
    case EROFS:
    case EIO:
    case ENOMEM:
    case ESHUTDOWN:
    case EINVAL:
    case EOPNOTSUPP:
      return code;
    case EACCES:
      return EPERM;
    default:
      return EIO;
  }
}

template <typename Result, typename Fn>
Result guarded(Result failure, Fn&& fn) noexcept {
  try {
    return fn();
  } catch (const Error& error) {
    nbdkit_error("%s", error.what());
    nbdkit_set_error(wire_error(error.code()));
  } catch (const std::bad_alloc&) {
    nbdkit_error("out of memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& error) {
    nbdkit_error("%s", error.what());
    nbdkit_set_error(EIO);
  }
  return failure;
}

}  // namespace plydisk
