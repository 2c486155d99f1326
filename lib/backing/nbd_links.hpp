// The connections of one NBD backing, and their recovery.
//
// Thread safety: all functions from any thread; construction and destruction by one alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backing/nbd_backing.hpp"
#include "backing/nbd_connection.hpp"
#include "backing/nbd_journal.hpp"
#include "base/striped.hpp"

namespace plydisk {

class NbdLinks {
 public:
  // Connections that were made together: all of them are dropped with the first that is lost.
  class Group {
   public:
    explicit Group(std::vector<std::unique_ptr<NbdConnection>> connections)
        : connections_(std::move(connections)) {}
    // The calling thread's.
    NbdConnection& mine() const { return *connections_[thread_stripe() % connections_.size()]; }
    // One that tells extents, if the server does.
    NbdConnection& structured() const { return *connections_.front(); }
    bool is_unconfirmed() const noexcept;
    bool is_lost() const noexcept;
    void drop() const noexcept;

   private:
    std::vector<std::unique_ptr<NbdConnection>> connections_;
  };
  using GroupPtr = std::shared_ptr<const Group>;

  // Connects. Throws Error.
  NbdLinks(const std::string& uri, const NbdOptions& options);
  ~NbdLinks();
  NbdLinks(const NbdLinks&) = delete;
  NbdLinks& operator=(const NbdLinks&) = delete;

  // As the server said at the first connection. Waits for that, and throws, as run().
  const NbdExport& about() const;
  // Whether there has been one.
  bool is_known() const noexcept { return is_known_.load(); }
  // Of the disk, in bytes.
  std::uint64_t size() const noexcept { return size_; }

  // Calls `request` with a connection, and again with another one as long as it returns
  // NbdConnection::lost. Returns the group that answered. Throws Error with what `request`
  // returned, if that is not 0; ETIMEDOUT when the options' patience is at its end; ESHUTDOWN after
  // stop_waiting(), or when the session is over; ServerAway. `what` is for the sentence: "read".
  GroupPtr run(const char* what, const std::function<int(NbdConnection&)>& request) const;
  // The same with a connection that tells extents.
  GroupPtr run_structured(const char* what,
                          const std::function<int(NbdConnection&)>& request) const;

  // Whether the server has done it; not if it can't, or refuses.
  bool cache(std::uint64_t offset, std::uint64_t length) const;
  // As Backing's.
  std::uint64_t connection() const noexcept { return connection_.load(); }
  std::string interface() const;

  // Keeps a write that `group` has answered until a flush covers it. False: the group was lost
  // meanwhile, so the write must be made again; `data` is still there.
  bool keep(const GroupPtr& group, std::uint64_t offset, std::uint64_t length,
            std::vector<std::byte>&& data, bool may_punch);
  // Memory that such writes take, in bytes.
  std::uint64_t kept_bytes() const;
  void wait_until_back() const;
  // As Backing's.
  void stay_in_session() noexcept { has_written_.store(true); }
  // As Backing's.
  std::string trouble() const;
  // Makes what was kept before the call durable, and forgets it.
  void flush();
  // All who wait for a lost server, now or later, get ESHUTDOWN. One that is there goes on to
  // serve.
  void stop_waiting() noexcept;

 private:
  GroupPtr run_on(const char* what, NbdConnection& (Group::*chosen)() const,
                  const std::function<int(NbdConnection&)>& request) const;
  GroupPtr connect(std::chrono::milliseconds limit);
  std::string next_uri();
  GroupPtr current() const;
  void require_worth_waiting() const;
  bool is_refused_for_good(const Error& error);
  void report_lost(const GroupPtr& group) const;
  void replace(std::unique_lock<std::mutex>& lock);
  void require_same(const NbdExport& now) const;
  void bring_up_to_date(const GroupPtr& next);
  int write_again(const Group& group) const;
  int write_what_differs(const Group& group) const;
  void watch();

  const std::string uri_;
  const NbdOptions options_;
  NbdExport about_;         // does not change any more once it is known
  std::uint64_t size_ = 0;  // never changes after construction
  std::atomic<bool> is_known_{true};
  std::atomic<bool> has_written_;
  std::atomic<std::uint64_t> connection_{0};
  // Of the thread that connects, alone: the epoch of the connections made last, and when the server
  // was last asked whether the session is over.
  std::uint64_t epoch_ = 0;
  std::chrono::steady_clock::time_point asked_{};
  mutable std::mutex mutex_;  // protects all below
  mutable std::condition_variable changed_;
  // Null while the server is away. The journal is changed by nobody then, and is read without the
  // lock by the watcher alone.
  mutable GroupPtr group_;
  GroupPtr candidate_;  // gets what is written again, before it is the group
  NbdJournal journal_;
  // Whether something may have been written that no flush has covered: also by an earlier process.
  bool may_be_unflushed_;
  std::string reason_;       // why the last attempt to connect failed
  std::string over_reason_;  // why the session is over; empty: it is not
  bool stopping_ = false;
  std::thread watcher_;
};

}  // namespace plydisk
