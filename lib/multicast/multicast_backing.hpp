// A station's way to the disk at its server, when others read the same at the same time: what is
// heard of it by multicast is taken, what is not is asked for, and what does not come is read.
//
// What it gives is what the server would give, at every moment:
// - A chunk that was heard is kept only if it has the hash that the server has given, over the
//   station's own connection, of what this session reads there.
// - Nobody but this session changes that, and all its changes go through here. A chunk that is
//   written to is marked before the write goes out, and what is heard is no good for it any more.
// - After another connection to the server, which may be another one by then, all that was heard or
//   known is dropped, and the station joins anew.
//
// It is the server's part to leave out of the hashes what the session's own layers there hold.
//
// A thread joins, renews, fetches hashes and leaves, so that no request waits for that; there is
// none before the first join().
//
// Thread safety: all functions from any thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "backing/backing.hpp"
#include "multicast/member.hpp"

namespace plydisk {

class MulticastBacking final : public Backing {
 public:
  MulticastBacking(std::shared_ptr<Backing> server, std::shared_ptr<MulticastUpstream> upstream);
  ~MulticastBacking() override;

  // Begins to listen, and goes on, whatever happens to the server, until leave(). Both wait a while
  // for the server's answer.
  void join();
  void leave();
  // The same as join(), and waits for nothing.
  void begin_to_join();
  struct Status {
    bool is_wanted = false;  // by join()
    bool is_joined = false;
    bool is_silent = false;  // what is sent is not heard
    std::string reason;      // why it is not joined; empty: it is, or is not to be
    MulticastOffer offer;    // if it is joined
    std::string interface;
    std::uint64_t bytes_kept = 0;
    std::size_t hash_ranges = 0;  // of hash_range_chunks chunks, whose hashes are here
    MulticastCounters counters;
  };
  Status status() const;

  std::uint64_t size() const noexcept override { return server_->size(); }
  std::string describe() const override { return server_->describe(); }
  void read(void* buffer, std::size_t length, std::uint64_t offset) const override;
  bool is_cold() const noexcept override { return server_->is_cold(); }
  void prefetch(std::uint64_t offset, std::uint64_t length) const override {
    server_->prefetch(offset, length);
  }
  bool has_cheap_extents() const noexcept override { return server_->has_cheap_extents(); }
  void for_each_extent(std::uint64_t offset, std::uint64_t length,
                       const ExtentFn& fn) const override {
    server_->for_each_extent(offset, length, fn);
  }
  const File* file() const noexcept override { return server_->file(); }
  void open_for_writing() override { server_->open_for_writing(); }
  void close_for_writing() noexcept override { server_->close_for_writing(); }
  void write(const void* buffer, std::size_t length, std::uint64_t offset) override {
    written_->add(offset, length);
    server_->write(buffer, length, offset);
  }
  void zero(std::uint64_t offset, std::uint64_t length, bool may_punch) override {
    written_->add(offset, length);
    server_->zero(offset, length, may_punch);
  }
  void flush() override { server_->flush(); }
  std::uint64_t connection() const noexcept override { return server_->connection(); }
  std::string interface() const override { return server_->interface(); }
  void wait_until_back() const override { server_->wait_until_back(); }
  std::string trouble() const override { return server_->trouble(); }
  void stay_in_session() noexcept override { server_->stay_in_session(); }
  void stop_waiting() noexcept override { server_->stop_waiting(); }

 private:
  using Clock = MulticastMember::Clock;
  struct Piece;
  std::shared_ptr<MulticastMember> member() const;
  bool read_some(MulticastMember& member, std::byte* to, std::size_t length, std::uint64_t offset,
                 bool asks) const;
  bool ask_for(MulticastMember& member, std::span<Piece> pieces) const;
  void keep();
  Clock::duration try_to_join();
  void load_hashes(MulticastMember& member, std::uint64_t range);
  void probe(MulticastMember& member);
  void set_member(std::shared_ptr<MulticastMember> member, const std::string& reason);
  void change(bool is_wanted, Clock::duration limit);

  const std::shared_ptr<Backing> server_;
  const std::shared_ptr<MulticastUpstream> upstream_;
  const std::shared_ptr<WrittenChunks> written_;
  std::atomic<bool> has_member_{false};

  mutable std::mutex mutex_;  // protects all below
  std::condition_variable changed_;
  bool stopping_ = false, is_wanted_ = false;
  bool is_woken_ = false;
  // Calls of join() and leave(), and how many of them were done, or tried.
  std::uint64_t changes_ = 0, settled_ = 0;
  std::shared_ptr<MulticastMember> member_;
  std::string reason_, interface_;
  MulticastCounters past_;  // of earlier members
  std::thread keeper_;
};

}  // namespace plydisk
