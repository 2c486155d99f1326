// A session that this process serves: its record, its stack's records, and its disk.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "stack/disk.hpp"
#include "store/catalogue.hpp"

namespace plydisk {

struct LiveSession {
  using Clock = std::chrono::steady_clock;

  // Held by whoever changes the session: the first write, redirections, its end. Never taken while
  // a disk's or the store's lock is held.
  std::mutex change_mutex;
  // Protected by change_mutex. `id`, `station`, `image` and `version` never change, so those are
  // read without it; `token` is changed with the store's locks held as well, so that any of them
  // will do.
  SessionRecord record;
  std::vector<LayerRecord> layers;  // oldest first, one to one with the disk's stack
  std::string writer;               // at a server: who writes, as in Foundation
  bool on_station = false;          // and whether on top of persistent layers of the station's own
  std::vector<HistoryRecord> news;  // not saved yet
  bool saved = false;               // whether the catalogue knows the session
  bool recorded = false;            // whether it knows it as it is now
  bool begun = false;               // whether it has a place for writes
  bool ended = false;
  bool told_full = false;  // that there is no place left for writes

  bool anonymous = false;      // never changes
  std::unique_ptr<Disk> disk;  // never changes

  // Protected by the store's mutex.
  unsigned connections = 0;
  unsigned of_firmware = 0;  // among these
  bool is_taken = false;     // by the station's system, which leaves nothing to the firmware
  bool finishing = false;    // nobody may join any more
  Clock::time_point idle_since = Clock::now();
  Destination claimed = Destination::server_volatile;  // copy of record.writes, for direct's claim
  bool takes_image = false;  // on its way to `direct`: the image is claimed already
  std::string peer;
  std::uint64_t epoch = 0;  // of the newest connections, whose gate this is
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  const std::shared_ptr<Gate> firmware_gate = std::make_shared<Gate>();
  // `record` and `layers` as they were last saved or published: what others look at, since a change
  // may take long.
  SessionRecord seen_record;
  std::vector<LayerRecord> seen_layers;
  std::string seen_writer;
  bool is_attached = false;  // as in StationSession
};

// How many of the layers, from the oldest, survive a boot: the longest run of persistent ones.
std::size_t surviving(const std::vector<LayerRecord>& layers);
// Whether what is written to this destination, on top of these layers, survives the next boot.
bool what_is_written_survives(Destination writes, const std::vector<LayerRecord>& layers);

}  // namespace plydisk
