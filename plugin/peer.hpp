// Who is at the other end of the connection that this thread serves.
#pragma once

#include "store/store.hpp"

namespace plydisk {

// Only in nbdkit's callbacks of a connection.
Peer current_peer();

}  // namespace plydisk
