#include "backing/nbd_links.hpp"

#include <time.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/units.hpp"

namespace plydisk {

namespace {

using namespace std::chrono_literals;

constexpr auto retry_period = 100ms;
constexpr auto ask_again_period = 1s;
// How often who waits asks whether that is pointless, and looks at the time.
constexpr auto ask_period = 200ms;
// How often it is looked whether the network has gone silent, and how many times it must look so
// before a connection is tried beside the one that there is.
constexpr auto watch_period = 500ms;
constexpr int silent_looks = 4;
// One write at a time would take a round trip for each.
constexpr std::size_t written_again_at_once = 64;
constexpr const char* session_has_ended = "the server has ended the session";

}  // namespace

bool NbdLinks::Group::is_unconfirmed() const noexcept {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& connection) { return connection->is_unconfirmed(); });
}

bool NbdLinks::Group::is_lost() const noexcept {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& connection) { return connection->is_lost(); });
}

void NbdLinks::Group::drop() const noexcept {
  for (const auto& connection : connections_) connection->drop();
}

NbdLinks::NbdLinks(const std::string& uri, const NbdOptions& options)
    : uri_(uri),
      options_(options),
      has_written_(options.resumes),
      may_be_unflushed_(options.may_be_unflushed) {
  try {
    group_ = connect(options_.connect_limit);
    about_ = group_->structured().about();
    connection_ = 1;
  } catch (const Error& error) {
    if (options.resumes && is_refused_for_good(error)) {
      over_reason_ = session_has_ended;
    } else {
      if (!options.begins_away) throw;
      reason_ = error.what();
      is_known_ = false;
    }
    about_ = {.size = options.size, .longest_request = chunk_size, .can_flush = true};
  }
  size_ = about_.size;
  watcher_ = std::thread([this] { watch(); });
}

NbdLinks::~NbdLinks() {
  stop_waiting();
  watcher_.join();
}

// The URI for the next group of connections.
std::string NbdLinks::next_uri() {
  if (options_.session.empty()) return uri_;
  // It goes on rising when this process is followed by another one.
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto milliseconds = static_cast<std::uint64_t>(now.tv_sec) * 1000 +
                            static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
  epoch_ = std::max(epoch_ + 1, milliseconds);
  return with_export(uri_, export_of(uri_) + "+" + options_.session + "." + std::to_string(epoch_) +
                               (has_written_.load() ? ".r" : ""));
}

NbdLinks::GroupPtr NbdLinks::connect(std::chrono::milliseconds limit) {
  const std::string uri = next_uri();
  std::vector<std::unique_ptr<NbdConnection>> connections;
  connections.push_back(std::make_unique<NbdConnection>(uri, limit));
  const NbdExport& about = connections.front()->about();
  const unsigned count = about.can_multi_conn ? std::max(1U, options_.connections) : 1;
  while (connections.size() < count)
    connections.push_back(
        std::make_unique<NbdConnection>(uri, limit, NbdConnection::Replies::simple));
  return std::make_shared<const Group>(std::move(connections));
}

// Called with the lock.
void NbdLinks::require_worth_waiting() const {
  if (!over_reason_.empty())
    throw Error(ESHUTDOWN,
                uri_ + ": " + over_reason_ + ", so nothing works but to detach the disk");
}

NbdLinks::GroupPtr NbdLinks::current() const {
  std::unique_lock lock(mutex_);
  if (group_) return group_;
  require_worth_waiting();
  if (ThrowIfAway::is_set() && !stopping_) throw ServerAway(uri_ + " is away");
  const auto start = std::chrono::steady_clock::now();
  while (!changed_.wait_for(lock, ask_period,
                            [this] { return stopping_ || group_ || !over_reason_.empty(); })) {
    if (options_.patience && std::chrono::steady_clock::now() - start >= *options_.patience)
      throw Error(ETIMEDOUT, uri_ + " can't be reached: " + reason_);
    lock.unlock();
    const bool is_pointless = options_.is_pointless && options_.is_pointless();
    lock.lock();
    if (is_pointless) break;
  }
  require_worth_waiting();
  if (!group_) throw Error(ESHUTDOWN, uri_ + " is away, and nobody waits for it any more");
  return group_;
}

const NbdExport& NbdLinks::about() const {
  if (!is_known()) current();
  return about_;
}

void NbdLinks::wait_until_back() const { current(); }

std::string NbdLinks::trouble() const {
  const std::lock_guard lock(mutex_);
  if (group_) return {};
  if (!over_reason_.empty()) return over_reason_;
  return reason_.empty() ? "the connection was lost" : reason_;
}

NbdLinks::GroupPtr NbdLinks::run(const char* what,
                                 const std::function<int(NbdConnection&)>& request) const {
  return run_on(what, &Group::mine, request);
}

NbdLinks::GroupPtr NbdLinks::run_structured(
    const char* what, const std::function<int(NbdConnection&)>& request) const {
  return run_on(what, &Group::structured, request);
}

NbdLinks::GroupPtr NbdLinks::run_on(const char* what, NbdConnection& (Group::*chosen)() const,
                                    const std::function<int(NbdConnection&)>& request) const {
  while (true) {
    GroupPtr group = current();
    const int error = request(((*group).*chosen)());
    if (error == 0) return group;
    if (error != NbdConnection::lost) throw_errno(error, uri_ + " could not " + what);
    report_lost(group);
  }
}

bool NbdLinks::cache(std::uint64_t offset, std::uint64_t length) const {
  while (true) {
    const GroupPtr group = current();
    if (!about_.can_cache) return false;
    const int error = group->mine().cache(offset, length);
    if (error != NbdConnection::lost) return error == 0;
    report_lost(group);
  }
}

std::string NbdLinks::interface() const {
  GroupPtr group;
  {
    const std::lock_guard lock(mutex_);
    group = group_;
  }
  return group ? group->structured().interface() : "";
}

void NbdLinks::report_lost(const GroupPtr& group) const {
  {
    const std::lock_guard lock(mutex_);
    if (group_ != group) return;
    group_.reset();
  }
  group->drop();
  changed_.notify_all();
}

bool NbdLinks::keep(const GroupPtr& group, std::uint64_t offset, std::uint64_t length,
                    std::vector<std::byte>&& data, bool may_punch) {
  if (!has_written_.exchange(true) && options_.on_first_write) options_.on_first_write();
  const std::lock_guard lock(mutex_);
  if (group_ != group) return false;
  journal_.add(offset, length, std::move(data), may_punch);
  return true;
}

std::uint64_t NbdLinks::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return journal_.bytes();
}

void NbdLinks::flush() {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = journal_.last();
    if (journal_.writes().empty() && !may_be_unflushed_) return;
  }
  const GroupPtr group = run("flush", [](NbdConnection& connection) {
    return connection.about().can_flush ? connection.flush() : 0;
  });
  const std::lock_guard lock(mutex_);
  // If it was lost after the answer, the writes are written once more: no harm.
  if (group_ != group) return;
  journal_.forget(number);
  may_be_unflushed_ = false;
}

// Whether a server that is there will have none of this session any more.
bool NbdLinks::is_refused_for_good(const Error& error) {
  const auto now = std::chrono::steady_clock::now();
  if (error.code() != ENOENT || !has_written_.load() || !options_.is_over ||
      now - asked_ < ask_again_period)
    return false;
  asked_ = now;
  return options_.is_over();
}

void NbdLinks::stop_waiting() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (candidate_) candidate_->drop();
    if (group_ && group_->is_unconfirmed()) {
      group_->drop();
      group_.reset();
    }
  }
  changed_.notify_all();
}

// Makes a new group, in the place of the one that is lost or silent. Called and left with the lock.
void NbdLinks::replace(std::unique_lock<std::mutex>& lock) {
  const GroupPtr silent = group_;
  lock.unlock();
  GroupPtr next;
  std::string reason;
  std::string over_reason;
  try {
    next = connect(options_.connect_limit);
    require_same(next->structured().about());
    if (silent) report_lost(silent);
    bring_up_to_date(next);
  } catch (const Error& error) {
    next.reset();
    reason = error.what();
    if (error.code() == ESTALE)
      over_reason = reason;
    else if (is_refused_for_good(error))
      over_reason = session_has_ended;
  } catch (const std::exception& error) {
    // No thread, or no memory: what is kept here must not be lost for that.
    next.reset();
    reason = error.what();
  }
  lock.lock();
  candidate_.reset();
  reason_ = reason;
  if (!over_reason.empty()) {
    over_reason_ = over_reason;
    if (group_) group_->drop();
    group_.reset();
    changed_.notify_all();
  }
  if (stopping_ || !next) return;
  if (!is_known()) {
    about_ = next->structured().about();
    is_known_ = true;
  }
  ++connection_;
  group_ = next;
  changed_.notify_all();
}

void NbdLinks::require_same(const NbdExport& now) const {
  // What is known from before is a disk's size, in whole sectors.
  const std::uint64_t size =
      is_known() ? now.size : (now.size + sector_size - 1) / sector_size * sector_size;
  if (size != size_)
    throw Error(EUCLEAN, uri_ + " has " + std::to_string(now.size) + " bytes now instead of " +
                             std::to_string(size_));
  if (is_known() && now != about_)
    throw Error(EUCLEAN, uri_ + " can do other things now than before");
}

// Gives a server that is back what it may lack. Called without the lock, while there is no group.
void NbdLinks::bring_up_to_date(const GroupPtr& next) {
  const bool is_all = !options_.on_reconnect || options_.on_reconnect(!journal_.writes().empty());
  {
    const std::lock_guard lock(mutex_);
    candidate_ = next;
    if (stopping_) throw Error(ESHUTDOWN, "it is being closed");
  }
  const auto require_done = [&](int error, const char* what) {
    if (error == NbdConnection::lost) throw Error(EIO, uri_ + " was lost again");
    if (error != 0) throw_errno(error, uri_ + what);
  };
  int error = write_again(*next);
  // A server that was not down has them still, in a place that may be full.
  if (is_disk_full(error)) error = write_what_differs(*next);
  if (is_disk_full(error))
    throw Error(error, uri_ + " has no room for what was written there before it was lost");
  require_done(error, " does not take what was written there before it was lost");
  if (is_all) return;
  require_done(next->mine().flush(), " could not flush what was written there before it was lost");
  {
    const std::lock_guard lock(mutex_);
    journal_.forget(journal_.last());
    may_be_unflushed_ = false;
  }
  options_.on_reconnect(false);
}

// Returns 0, or an error as NbdConnection's.
int NbdLinks::write_again(const Group& group) const {
  // Those which overlap in order, one after the other; others side by side.
  std::vector<NbdConnection::Write> batch;
  const auto send = [&] {
    const int error = group.mine().write_all(batch);
    batch.clear();
    return error;
  };
  for (const UnflushedWrite& write : journal_.writes()) {
    const bool overlaps = std::any_of(batch.begin(), batch.end(), [&](const auto& other) {
      return other.offset < write.offset + write.length &&
             write.offset < other.offset + other.length;
    });
    if (overlaps || batch.size() == written_again_at_once)
      if (const int error = send(); error != 0) return error;
    batch.push_back({write.offset, write.length, write.data.empty() ? nullptr : write.data.data(),
                     write.may_punch});
  }
  return batch.empty() ? 0 : send();
}

// Of what was written, as it is to be read in the end, only that which the server has otherwise.
int NbdLinks::write_what_differs(const Group& group) const {
  std::vector<std::byte> there;
  for (const UnflushedWrite& write : journal_.newest()) {
    there.resize(write.length);
    if (const int error = group.mine().read(there.data(), there.size(), write.offset); error != 0)
      return error;
    const bool is_there =
        write.data.empty()
            ? std::ranges::all_of(there, [](std::byte b) { return b == std::byte{0}; })
            : there == write.data;
    if (is_there) continue;
    const int error =
        group.mine().write({write.offset, write.length,
                            write.data.empty() ? nullptr : write.data.data(), write.may_punch});
    if (error != 0) return error;
  }
  return 0;
}

void NbdLinks::watch() {
  std::unique_lock lock(mutex_);
  int looks = 0;
  while (!stopping_ && over_reason_.empty()) {
    if (group_) {
      const GroupPtr group = group_;
      changed_.wait_for(lock, watch_period, [&] { return stopping_ || group_ != group; });
      if (stopping_ || group_ != group) continue;
      lock.unlock();
      looks = group->is_unconfirmed() ? looks + 1 : 0;
      // The server is to know of the disk, also while nobody uses it.
      if (group->is_lost()) report_lost(group);
      lock.lock();
      if (!group_) continue;
      if (looks < silent_looks || group_ != group) continue;
    }
    looks = 0;
    replace(lock);
    if (!group_) changed_.wait_for(lock, retry_period, [this] { return stopping_; });
  }
}

}  // namespace plydisk
