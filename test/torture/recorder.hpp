// The log of everything that a program did to durable storage, from which power_cut.hpp rebuilds
// what a power cut could have left.
//
// Our own code reports through StorageObserver, SQLite through recording_vfs.hpp. Both call before
// a change is made (creations and syncs: after), so the log is in the order in which the changes
// could first have reached the disk. The program under test adds marks ("flush 7 was
// acknowledged"), which take a place in the same order.
//
// Directories that were made past the observer are logged when something is first made in them, or
// when their parent is synced.
//
// A sync covers what was logged before it *began*: what another thread writes while it runs may
// miss it. skip_sync(), which is asked first, is where it begins.
//
// Thread safety: all functions may be called from any thread; operations() only once no thread
// reports any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/file.hpp"

namespace plydisk::torture {

struct Operation {
  enum class Kind {
    write,     // offset, data
    punch,     // offset, length
    truncate,  // length is the new size
    sync,      // offset is the position in the log at which it began
    create,    // a file; nothing happens if it is there already
    create_directory,
    remove,  // a file or a directory
    rename,  // path to target
    link,    // path gets the second name target
    sync_directory,
    mark,
  };
  Kind kind = Kind::mark;
  std::string path;  // relative to the recorded folder; "" is the folder itself
  std::string target;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::vector<std::byte> data;
  bool with_times = false;  // of a sync: the file's times too, as fsync does and fdatasync need not
  // When the content was last changed, in nanoseconds, as the file system said when this was
  // logged.
  std::int64_t mtime_ns = 0;
};

class Recorder final : public StorageObserver {
 public:
  // Records what happens below `root` (absolute), and nothing else.
  explicit Recorder(std::filesystem::path root);

  // Makes a sync of a file or folder do nothing when the predicate says so: for tests that prove
  // that they would notice. Set while nobody reports.
  void skip_syncs(std::function<bool(const std::string& path)> predicate);
  // Lets syncs and punches, and some writes, take up to `microseconds` longer, at random, so that
  // threads meet in them.
  void slow_down(unsigned microseconds);

  // Position in the log: all operations so far have smaller numbers.
  std::uint64_t position() const;
  // Adds a mark and returns its number. What is numbered lower had happened by then.
  std::uint64_t mark();
  // Logs the present content of a file that is changed through a shared mapping. The kernel
  // writes such pages back when it likes, so this is one of the contents that may be found.
  void snapshot(const std::filesystem::path& path);
  // Logs that everything that is there has become durable, as when a machine is shut down cleanly.
  void sync_everything();

  void on_write(const std::string& path, std::uint64_t offset,
                std::span<const std::byte> data) override;
  void on_punch(const std::string& path, std::uint64_t offset, std::uint64_t length) override;
  void on_truncate(const std::string& path, std::uint64_t size) override;
  void on_sync(const std::string& path) override;
  void on_create(const std::string& path) override;
  void on_remove(const std::string& path) override;
  void on_rename(const std::string& from, const std::string& to) override;
  void on_link(const std::string& file, const std::string& name) override;
  void on_sync_directory(const std::string& path) override;
  bool skip_sync(const std::string& path) override;

  const std::vector<Operation>& operations() const { return operations_; }
  const std::filesystem::path& root() const { return root_; }

 private:
  void take_time();
  bool is_inside(const std::string& path) const;
  std::string relative(const std::string& path) const;
  std::uint64_t add(Operation operation);
  // The caller holds the mutex.
  void add_directory(const std::string& relative_path);
  void add_parents(const std::string& relative_path);

  const std::filesystem::path root_;
  std::function<bool(const std::string&)> skip_;
  unsigned most_delay_us_ = 0;
  std::atomic<std::uint64_t> delays_{0};

  mutable std::mutex mutex_;  // protects all below
  std::vector<Operation> operations_;
  std::set<std::string> directories_;  // those that were logged
};

}  // namespace plydisk::torture
