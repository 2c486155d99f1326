// The mount's operations, as the kernel asks for them, on paths and open files.
//
// Thread safety: all functions from any thread. Functions throw Error; what an administrator should
// know of is in `last-error` and the log as well.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "drafts.hpp"
#include "event_stream.hpp"
#include "open_file.hpp"
#include "picture.hpp"
#include "station_files.hpp"
#include "tree.hpp"

namespace plydisk {

class Filesystem {
 public:
  using Log = std::function<void(const std::string& sentence)>;
  Filesystem(StoreCaller& caller, const Access& access, Log log);

  struct stat attributes(const std::string& path);
  // Calls fn(name, attributes) for what is in the folder.
  void list(const std::string& path,
            const std::function<void(const std::string&, const struct stat&)>& fn);
  std::string read_link(const std::string& path);
  // `flags`: as of open(2). `is_cached` is set to whether the kernel may keep what it reads.
  std::unique_ptr<OpenFile> open(const std::string& path, int flags, bool& is_cached);
  std::unique_ptr<OpenFile> create(const std::string& path, mode_t mode, int flags);
  void truncate(const std::string& path, std::uint64_t length);
  void make_folder(const std::string& path);
  void remove_folder(const std::string& path);
  void remove_file(const std::string& path);
  void rename(const std::string& from, const std::string& to, bool replaces);
  // What the mount decides itself may be "set" to what it is.
  void set_mode(const std::string& path, mode_t mode);
  void set_owner(const std::string& path, uid_t uid, gid_t gid);
  void set_time(const std::string& path, std::int64_t changed);

  // Notes that a change was refused, or failed.
  void report(const std::string& path, const std::string& sentence);

 private:
  std::optional<Node> find(const std::string& path);
  Node at(const std::string& path);
  std::optional<Node> take_just_made(const std::string& path);
  nlohmann::json call(const Request& request);
  std::string status_text();
  void set(const Node& value, const std::string& text);
  std::unique_ptr<OpenFile> open_value(const Node& node, int flags, bool is_new);
  Request removal_of(const Node& folder);
  void require_draft_folder(const std::string& path);
  void rename_draft(const std::string& from, const std::string& to);
  void move_value_away(const std::string& from, const Node& value, const std::string& to);

  StoreCaller& caller_;
  const Access access_;
  const Log log_;
  Picture picture_;
  Tree tree_;
  Drafts drafts_;
  EventStream events_;
  StationLinks station_links_;
  std::mutex mutex_;  // protects all below
  std::string last_error_, logged_;
  std::int64_t last_error_at_ = 0, logged_at_ = 0;
  std::map<std::string, Node> just_made_;
};

}  // namespace plydisk
