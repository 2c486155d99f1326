// What may be read from a disk after a power cut: for each sector its last flushed value, or any
// value written later, of what lies in the layers that survive.
//
// Times are positions in a Recorder's log. Every request has the position before it was made and
// the mark that was set when it was answered; a cut at c comes after everything with a number
// below c.
//
// An *epoch* is the time between two changes of where writes go. The epochs of a session lie on
// each other like its layers; a reboot leaves those of the persistent destinations from the bottom
// up to the first volatile one. A request that was under way while the destination changed may
// belong to either epoch. What is written directly to the image stays there whatever becomes of the
// epoch, and shows where no surviving layer covers it.
//
// Thread safety: threads may add versions and flushes at the same time if each has sectors of its
// own; the other functions are for one thread, while nobody adds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace plydisk::torture {

inline constexpr std::uint64_t unfinished = std::numeric_limits<std::uint64_t>::max();

enum class Place { image, persistent_layer, volatile_layer };

struct Version {
  std::uint64_t began = 0;
  std::uint64_t ended = unfinished;
  std::uint64_t hash = 0;        // of the content, 0 for zeros
  std::uint64_t generation = 0;  // of the newest bytes in it; 0 for zeros
  bool fua = false;
  unsigned first_epoch = 0;
  unsigned last_epoch = std::numeric_limits<unsigned>::max();  // until it is finished
};

class SectorModel {
 public:
  // `base` are the hashes of the image's sectors.
  explicit SectorModel(std::vector<std::uint64_t> base);

  std::size_t sectors() const { return versions_.size(); }

  // Where the requests made from now on go, in a new session or on top of the present one.
  struct NewEpoch {
    Place place = Place::volatile_layer;
    bool new_session = false;
    bool carry = false;           // what lies below is merged down, and survives
    bool previous_empty = false;  // nothing was written in the epoch before: it leaves no layer
  };
  void begin_epoch(const NewEpoch& epoch, std::uint64_t began);
  void epoch_begun(std::uint64_t ended);
  void end_session(std::uint64_t began, std::uint64_t ended);
  // The earliest epoch that a request made now can fall into, and the latest for one answered now.
  // From any thread at any time.
  unsigned earliest_epoch() const { return acknowledged_epoch_.load(); }
  unsigned latest_epoch() const { return begun_epoch_.load(); }

  // Adds a request's new value of one sector, before it is made.
  void add(std::size_t sector, const Version& version);
  void finish(std::size_t sector, std::uint64_t ended, unsigned last_epoch);
  void add_flush(std::uint64_t began, std::uint64_t ended);

  // One of the ways in which the layers may have survived a cut. Two differ in whether a change
  // that was under way had happened.
  struct Survival {
    std::vector<bool> kept;    // by epoch
    std::vector<Place> place;  // by epoch: where what was written in it is now
    // By epoch: when what was written in it was copied into the image, over what was there; or 0.
    std::vector<std::uint64_t> moved;
    bool covered = false;  // whether layers lie over the image
    std::uint64_t cut = 0;
    unsigned newest_epoch = 0;  // that had begun
    std::uint64_t flushed = 0;  // what ended before is durable
    std::string description;
  };
  std::vector<Survival> survivals(std::uint64_t cut) const;
  // What a session sees now, without any cut, or a new one after a reboot.
  Survival present(bool rebooted) const;

  // Whether what is written now survives the next boot: in a layer that is kept, or in the image
  // if nothing that is kept can hide it.
  bool survives_now() const;

  // Whether a sector may have this content.
  bool allows(const Survival& survival, std::size_t sector, std::uint64_t hash) const;
  // For messages: the values that it may have, and the history of the sector.
  std::string expected(const Survival& survival, std::size_t sector) const;

 private:
  struct Epoch : NewEpoch {
    std::uint64_t began;
  };
  struct Change {  // of the stack, in order
    std::uint64_t began, ended;
    bool ends_session;
    std::optional<unsigned> epoch;  // that begins
  };
  struct Allowed {
    std::vector<const Version*> versions;
    bool base = false;
  };
  Allowed allowed(const Survival& survival, std::size_t sector) const;
  Survival survival(std::size_t changes, std::uint64_t cut, bool rebooted) const;

  std::vector<std::uint64_t> base_;
  std::vector<std::vector<Version>> versions_;  // by sector, in the order of writing
  std::vector<Epoch> epochs_;
  std::vector<Change> changes_;
  std::atomic<unsigned> acknowledged_epoch_{0}, begun_epoch_{0};
  std::mutex flush_mutex_;  // protects flushes_ while threads add
  struct Flush {
    std::uint64_t began, ended;
  };
  std::vector<Flush> flushes_;
};

}  // namespace plydisk::torture
