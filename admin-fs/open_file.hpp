// What an open file of the mount reads and writes.
//
// Thread safety: a program may use a file from several threads, so all functions may be called from
// any. Functions throw Error.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "control/store_caller.hpp"
#include "drafts.hpp"
#include "event_stream.hpp"

namespace plydisk {

class OpenFile {
 public:
  virtual ~OpenFile() = default;
  virtual std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) = 0;
  // `at_end`: wherever the end is, for who appends.
  virtual void write(const char* data, std::size_t length, std::uint64_t offset, bool at_end);
  virtual void truncate(std::uint64_t length);
  // A descriptor of it was closed; there may be more. What it throws is the result of close().
  virtual void flush() {}
  // The last one was, and nobody hears what it says.
  virtual void close() {}
  virtual std::uint64_t next_data(std::uint64_t offset);  // ENXIO: none
  virtual std::uint64_t next_hole(std::uint64_t offset);
  virtual std::uint64_t size() = 0;
};

// A text that was read when the file was opened: so it is one value, whole, however it is read.
class TextFile : public OpenFile {
 public:
  explicit TextFile(std::string text) : text_(std::move(text)) {}
  std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) override;
  std::uint64_t size() override;

 protected:
  std::mutex mutex_;  // protects the next
  std::string text_;
};

// A value that is being edited. It is set as a whole: by the write that brings its newline, since a
// shell hears no other errors, if it is one line; else when the file is closed.
class ValueFile final : public TextFile {
 public:
  struct Rules {
    std::function<void(const std::string& text)> set;
    std::function<void(const std::string& line)> check_line;  // empty: one line
    bool clearable = false;  // whether no text at all is a value, too
  };
  // `emptied`: as if it had been truncated.
  ValueFile(std::string text, Rules rules, bool emptied);
  void write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) override;
  void truncate(std::uint64_t length) override;
  void flush() override;
  void close() override;

 private:
  void check_new_lines(const std::string& text) const;
  void set();

  const Rules rules_;
  // Protected by mutex_. Emptied: nothing was written since, so what is there may be no value yet.
  bool changed_ = false, emptied_ = false;
  bool refused_ = false;  // some of it: then nothing of the rest is set either
};

class DraftFile final : public OpenFile {
 public:
  explicit DraftFile(std::shared_ptr<Draft> draft) : draft_(std::move(draft)) {}
  std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) override;
  void truncate(std::uint64_t length) override;
  std::uint64_t size() override;

 private:
  const std::shared_ptr<Draft> draft_;
};

class EventsFile final : public OpenFile {
 public:
  explicit EventsFile(EventStream& stream) : stream_(stream), begin_(stream.begin()) {}
  std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) override;
  std::uint64_t size() override;

 private:
  EventStream& stream_;
  std::atomic<std::uint64_t> begin_;  // of what it shows, among all
};

// A whole disk.
class DiskFile final : public OpenFile {
 public:
  explicit DiskFile(std::unique_ptr<OpenDisk> disk) : disk_(std::move(disk)) {}
  std::size_t read(char* buffer, std::size_t length, std::uint64_t offset) override;
  std::uint64_t next_data(std::uint64_t offset) override;
  std::uint64_t next_hole(std::uint64_t offset) override;
  std::uint64_t size() override;

 private:
  std::uint64_t next(std::uint64_t offset, bool zeros);
  const std::unique_ptr<OpenDisk> disk_;
  std::mutex mutex_;                       // protects the next
  std::vector<OpenDisk::Extent> extents_;  // as asked for last
};

}  // namespace plydisk
