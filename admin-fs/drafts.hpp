// Files that editors make beside what they edit: temporary, backup and swap files. They live in
// memory and are never parameters; and for a moment an editor may move a value's file away, to make
// a new one in its place.
//
// Thread safety: all functions from any thread. Functions throw Error.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace plydisk {

class Draft {
 public:
  Draft(mode_t mode, std::string text);
  std::string text() const;
  std::size_t read(char* buffer, std::size_t length, std::size_t offset) const;
  // EFBIG over the limit of one file.
  void write(const char* data, std::size_t length, std::size_t offset, bool at_end);
  void truncate(std::size_t length);
  void set_mode(mode_t mode);
  void set_time(std::int64_t changed);
  // Of the mode, the size and the times.
  void describe(struct stat& info) const;

  static constexpr std::size_t longest = 16 << 20;  // bytes

 private:
  mutable std::mutex mutex_;  // protects all below
  mode_t mode_;
  std::string text_;
  std::int64_t changed_;
};

class Drafts {
 public:
  static constexpr std::size_t most = 1000;

  std::shared_ptr<Draft> find(const std::string& path) const;
  // ENOSPC: there are too many.
  std::shared_ptr<Draft> make(const std::string& path, mode_t mode, std::string text = {});
  // False if there is none.
  bool remove(const std::string& path);
  void rename(const std::string& from, const std::string& to);
  // Of the names in a folder.
  std::vector<std::string> list(const std::string& folder) const;
  // Those in a folder that is gone.
  void remove_folder(const std::string& folder);

  // A value's file that was moved away is not there until it is made again, or a moment is over.
  void hide(const std::string& path);
  bool is_hidden(const std::string& path) const;
  void show(const std::string& path);
  // Whether it was hidden not longer ago than this, ten seconds at most.
  bool was_hidden(const std::string& path, std::chrono::milliseconds ago) const;

 private:
  using Clock = std::chrono::steady_clock;
  mutable std::mutex mutex_;  // protects all below
  std::map<std::string, std::shared_ptr<Draft>> drafts_;
  struct Away {
    Clock::time_point since;
    bool is_back = false;
  };
  std::map<std::string, Away> hidden_;
};

}  // namespace plydisk
