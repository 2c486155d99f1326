// What a path of the mount means, and what is in its folders.
//
//   parameters/NAME   images/NAME/versions/N/   stations/NAME/   sessions/ID/   layers/UUID/
//   check   gc   events   status   last-error
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
#include "new_images.hpp"
#include "picture.hpp"
#include "reports.hpp"

namespace plydisk {

// Who may look into what.
struct Access {
  uid_t uid = 0;
  gid_t gid = 0;
  // Of the topics' folders; what lies in them is for nobody for whom those are not.
  std::array<mode_t, topic_count> topics{};
  mode_t disks = 0400, files = 0444;  // whole disks; what is in the root
};

struct Node {
  enum class Kind {
    root,
    topic,         // images
    thing,         // images/debian
    new_image,     // images/debian, as long as nothing is in it
    versions,      // images/debian/versions
    version,       // images/debian/versions/2
    value,         // a field of a thing, a version, a parameter, or the store
    disk,          // of a version, a session, or a station
    session_link,  // stations/pc07/session
    events,
    status,
    last_error,
  };
  Kind kind = Kind::root;
  Topic topic = Topic::parameters;
  std::string name;      // of the image, station, …; a session's id; empty in the root
  unsigned version = 0;  // 0: not in a version
  bool is_new = false;   // in an image that is to be made
  const Field* field = nullptr;
  std::int64_t changed = 0;  // seconds since 1970

  bool is_folder() const noexcept {
    return kind == Kind::root || kind == Kind::topic || kind == Kind::thing ||
           kind == Kind::new_image || kind == Kind::versions || kind == Kind::version;
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
  // Throws Error for what can't be a line of a value that may have several.
  void check_line(const Node& value, const std::string& line);
  struct Change {
    Request request;
    std::string report;  // where the answer is kept as a report; empty: nowhere
  };
  // What a new text of a value asks of the server; none: nothing.
  std::optional<Change> change(const Node& value, const std::string& text);
  std::string link_target(const Node& session_link);
  // The parameters of disk.open, to look at it.
  nlohmann::json disk_of(const Node& disk);

  NewImages& new_images() { return new_images_; }
  Reports& reports() { return reports_; }

 private:
  std::optional<Node> find_in_topic(const std::vector<std::string>& path, Topic topic);
  std::optional<Node> find_in_image(const std::vector<std::string>& path, Node image,
                                    const nlohmann::json& record);
  std::optional<Node> find_in_new_image(const std::vector<std::string>& path);
  std::shared_ptr<const nlohmann::json> thing_of(const Node& value, bool is_fresh);
  mode_t mode_of(const Node& node) const;
  bool has_disk(const Node& folder);
  std::string image_of(const Node& disk);

  Picture& picture_;
  const Access access_;
  const std::int64_t made_;  // when the mount was: the time of what has no other
  NewImages new_images_;
  Reports reports_;
};

}  // namespace plydisk
