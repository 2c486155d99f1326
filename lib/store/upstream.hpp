// What a station's store asks of the server that its image comes from.
#pragma once

#include <cstdint>
#include <string>

#include "store/destination.hpp"
#include "store/foundation.hpp"

namespace plydisk {

// Thread safety: all functions from any thread. They throw Error: what the server refuses, in its
// words; ETIMEDOUT or ESHUTDOWN if it is not reached.
class Upstream {
 public:
  virtual ~Upstream() = default;
  // Throws if the station may not choose all that is in the plan.
  virtual void require_may_choose(const WritePlan& plan) = 0;
  struct Terms {
    Destination writes;   // where the session's writes go from now on
    bool above_volatile;  // on top of layers here that do not survive a boot, so nor may they
    bool on_station;      // on top of layers here that do
    std::string writer;   // as in Foundation
  };
  // `carry`: the server brings what it has of the session down into that destination, so that it
  // survives; and in the same step the writer is the one that is known there.
  virtual void redirect(const Terms& terms, bool carry) = 0;
  // What the server takes the session to be. ENOENT: it knows none.
  struct SessionState {
    Destination writes;
    bool survives;       // whether what is written now survives a boot
    bool has_volatile;   // whether something was written that does not
    bool is_attached;    // whether redirect() was called in it
    std::string writer;  // who writes
    Foundation foundation;
    std::string image;  // uuid
  };
  virtual SessionState session_state() = 0;
  // As Store::freeze_for_station().
  virtual void freeze(std::uint64_t version, bool goes_on) = 0;
  // The station is done with the session.
  virtual void end_session() = 0;
};

}  // namespace plydisk
