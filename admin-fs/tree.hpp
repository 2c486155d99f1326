// What a path of the mount means, and what is in its folders.
//
//   parameters/NAME   images/NAME/versions/N/   stations/NAME/   sessions/ID/   layers/UUID/
//   events   status   last-error
//
// Thread safety: all functions from any thread. Functions throw Error.
#pragma once

#include <sys/stat.h>

#include <array>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "fields.hpp"
#include "picture.hpp"

namespace plydisk {

// Who may look into what.
struct Access {
  uid_t uid = 0;
  gid_t gid = 0;
  // Of the topics' folders; what lies in them is for nobody for whom those are not.
  std::array<mode_t, topic_count> topics{};
  mode_t disks = 0400, files = 0444;  // whole disks; events, status and last-error
};

struct Node {
  enum class Kind {
    root,
    topic,         // images
    thing,         // images/debian
    versions,      // images/debian/versions
    version,       // images/debian/versions/2
    value,         // a field of a thing, a version or a parameter
    disk,          // of a version or a session
    session_link,  // stations/pc07/session
    events,
    status,
    last_error,
  };
  Kind kind = Kind::root;
  Topic topic = Topic::parameters;
  std::string name;      // of the image, station, …; a session's id
  unsigned version = 0;  // 0: not in a version
  const Field* field = nullptr;
  std::int64_t changed = 0;  // seconds since 1970

  bool is_folder() const noexcept {
    return kind == Kind::root || kind == Kind::topic || kind == Kind::thing ||
           kind == Kind::versions || kind == Kind::version;
  }
};

// "/a/b" as {"a", "b"}.
std::vector<std::string> split_path(const std::string& path);

class Tree {
 public:
  Tree(Picture& picture, const Access& access)
      : picture_(picture), access_(access), made_(std::time(nullptr)) {}

  // None if there is no such thing.
  std::optional<Node> find(const std::string& path);
  Node at(const std::string& path);  // ENOENT
  struct Entry {
    std::string name;
    Node node;
  };
  std::vector<Entry> list(const Node& folder);
  // All but the size of files whose text is not known here: events, status and last-error.
  struct stat attributes(const Node& node);
  // Of a value, with its newline, as it was at the last change that was told of, or as it is now.
  std::string text(const Node& value);
  std::string fresh_text(const Node& value);
  // What a new text of a value asks of the server; none: nothing.
  std::optional<Request> request(const Node& value, const std::string& text);
  std::string link_target(const Node& session_link);
  // The parameters of disk.open.
  nlohmann::json disk_of(const Node& disk);

 private:
  std::optional<Node> find_in_topic(const std::vector<std::string>& path, Topic topic);
  std::optional<Node> find_in_image(const std::vector<std::string>& path, Node image,
                                    const nlohmann::json& record);
  mode_t mode_of(const Node& node) const;

  Picture& picture_;
  const Access access_;
  const std::int64_t made_;  // when the mount was: the time of what has no other
};

}  // namespace plydisk
