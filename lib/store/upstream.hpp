// What a station's store asks of the server that its image comes from.
#pragma once

#include "store/destination.hpp"

namespace plydisk {

// Thread safety: all functions from any thread. They throw Error: what the server refuses, in its
// words; ETIMEDOUT or ESHUTDOWN if it is not reached.
class Upstream {
 public:
  virtual ~Upstream() = default;
  // Throws if the station may not choose all that is in the plan.
  virtual void require_may_choose(const WritePlan& plan) = 0;
  // The session's writes go to `writes` from now on. `above_volatile`: on top of layers here that
  // do not survive a boot, so that what is written there must not either. `carry`: the server
  // brings what it has of the session down into that destination, so that it survives.
  virtual void redirect(Destination writes, bool above_volatile, bool carry) = 0;
  // What the server takes the session to be. ENOENT: it knows none.
  struct SessionState {
    Destination writes;
    bool survives;  // whether what is written now survives a boot
  };
  virtual SessionState session_state() = 0;
  // The station is done with the session.
  virtual void end_session() = 0;
};

}  // namespace plydisk
