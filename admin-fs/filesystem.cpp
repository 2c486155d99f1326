#include "filesystem.hpp"

#include <fcntl.h>

#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "control/records.hpp"
#include "field_text.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;
using Kind = Node::Kind;

namespace {

constexpr std::int64_t same_again_seconds = 10;
// How long after an editor has moved a value's file away it may put that back, when its text was
// refused.
constexpr std::chrono::seconds after_an_editor{10};

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

bool has_settings(const Node& folder) {
  return (folder.kind == Kind::thing && folder.topic != Topic::layers) ||
         folder.kind == Kind::version || folder.kind == Kind::new_image;
}

}  // namespace

Filesystem::Filesystem(StoreCaller& caller, const Access& access, Log log)
    : caller_(caller),
      access_(access),
      log_(std::move(log)),
      picture_(caller),
      tree_(picture_, access),
      events_(caller),
      station_links_(caller, [this](const std::string& station, const std::string& sentence) {
        report("/stations/" + station + "/disk", sentence);
      }) {}

void Filesystem::report(const std::string& path, const std::string& sentence) {
  const std::string line = (path == "/" ? path : path.substr(1)) + ": " + sentence;
  {
    const std::lock_guard lock(mutex_);
    const std::int64_t now = std::time(nullptr);
    // Who tries the same again and again must not fill the log.
    const bool is_known = logged_ == line && now - logged_at_ < same_again_seconds;
    last_error_at_ = now;
    last_error_ = time_json(now).get<std::string>() + " " + line + "\n";
    if (is_known) return;
    logged_ = line;
    logged_at_ = now;
  }
  log_(line);
}

std::optional<Node> Filesystem::find(const std::string& path) {
  if (drafts_.is_hidden(path)) return std::nullopt;
  return tree_.find(path);
}

Node Filesystem::at(const std::string& path) {
  if (drafts_.is_hidden(path)) throw Error(ENOENT, "it was moved away");
  return tree_.at(path);
}

json Filesystem::call(const Request& request) {
  json result = caller_.call(request.method, request.params);
  picture_.note_change();
  return result;
}

std::optional<Node> Filesystem::take_just_made(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto made = just_made_.extract(path);
  return made ? std::optional(made.mapped()) : std::nullopt;
}

std::string Filesystem::status_text() {
  return table_text(caller_.call("status", json::object())) + "\n";
}

struct stat Filesystem::attributes(const std::string& path) {
  if (const auto draft = drafts_.find(path)) {
    struct stat info {};
    info.st_uid = access_.uid;
    info.st_gid = access_.gid;
    info.st_blksize = 4096;
    draft->describe(info);
    return info;
  }
  const std::optional<Node> made = take_just_made(path);
  const Node node = made ? *made : at(path);
  struct stat info = tree_.attributes(node);
  if (node.kind == Kind::events) {
    info.st_size = static_cast<off_t>(events_.size());
    if (events_.changed() != 0) info.st_mtim.tv_sec = events_.changed();
  } else if (node.kind == Kind::status) {
    info.st_size = static_cast<off_t>(status_text().size());
    info.st_mtim.tv_sec = std::time(nullptr);
  } else if (node.kind == Kind::last_error) {
    const std::lock_guard lock(mutex_);
    info.st_size = static_cast<off_t>(last_error_.size());
    if (last_error_at_ != 0) info.st_mtim.tv_sec = last_error_at_;
  }
  info.st_ctim = info.st_mtim;
  return info;
}

void Filesystem::list(const std::string& path,
                      const std::function<void(const std::string&, const struct stat&)>& fn) {
  const Node folder = at(path);
  if (!folder.is_folder()) throw Error(ENOTDIR, "this is not a folder");
  const std::string prefix = path == "/" ? path : path + "/";
  for (const auto& [name, node] : tree_.list(folder)) {
    if (drafts_.is_hidden(prefix + name)) continue;
    // Folders are told with all that is known of them; of files, only what they are, since to know
    // their sizes takes asking for each value.
    struct stat info {};
    if (node.is_folder() || node.kind == Kind::session_link)
      info = tree_.attributes(node);
    else
      info.st_mode = S_IFREG;
    fn(name, info);
  }
  for (const std::string& name : drafts_.list(path)) {
    struct stat info {};
    info.st_mode = S_IFREG;
    fn(name, info);
  }
}

std::string Filesystem::read_link(const std::string& path) {
  const Node node = at(path);
  if (node.kind != Kind::session_link) throw Error(EINVAL, "this is no link");
  return tree_.link_target(node);
}

// Sets a value, and tells why not.
void Filesystem::set(const Node& value, const std::string& text) {
  const auto change = tree_.change(value, text);
  if (!change) return;
  const json result = call(change->request);
  if (value.is_new) tree_.new_images().remove(value.name);
  if (change->report.empty()) return;
  tree_.reports().keep(change->report, result);
  if (!result.value("sound", true))
    throw Error(EUCLEAN, "there are faults: read this file to see them");
}

// `is_new`: an editor makes it in the place of what it has moved away.
std::unique_ptr<OpenFile> Filesystem::open_value(const Node& node, int flags, bool is_new) {
  const Field& field = *node.field;
  if (!writes(flags)) return std::make_unique<TextFile>(tree_.fresh_text(node));
  if (field.set == nullptr)
    throw Error(EACCES, std::string(field.name) + " is told by the server, and not to be set");
  const bool emptied = is_new || (flags & O_TRUNC) != 0;
  // A command is not added to the report of the last one.
  const bool begins_empty = emptied || (field.is_command && (flags & O_ACCMODE) == O_WRONLY);
  ValueFile::Rules rules;
  rules.set = [this, node](const std::string& text) { set(node, text); };
  if (field.check_line != nullptr)
    rules.check_line = [this, node](const std::string& line) { tree_.check_line(node, line); };
  rules.clearable = field.clearable;
  return std::make_unique<ValueFile>(begins_empty ? "" : tree_.fresh_text(node), std::move(rules),
                                     emptied);
}

std::unique_ptr<OpenFile> Filesystem::open(const std::string& path, int flags, bool& is_cached) {
  is_cached = false;
  if (const auto draft = drafts_.find(path)) {
    if ((flags & O_TRUNC) != 0) draft->truncate(0);
    return std::make_unique<DraftFile>(draft);
  }
  const Node node = at(path);
  if (node.kind == Kind::value) return open_value(node, flags, false);
  if (node.kind == Kind::disk && node.topic == Topic::stations && writes(flags))
    return std::make_unique<StationFile>(
        station_links_.open(node.name), static_cast<std::uint64_t>(tree_.attributes(node).st_size));
  if (writes(flags)) throw Error(EACCES, last_part(path) + " can't be written");
  switch (node.kind) {
    case Kind::disk: {
      auto disk = caller_.open_disk(tree_.disk_of(node));
      // The kernel's cache is one for all who have a session's disk open, each of another moment.
      is_cached = node.topic == Topic::images && disk->is_frozen();
      return std::make_unique<DiskFile>(std::move(disk));
    }
    case Kind::events:
      events_.size();  // so that there is what it begins with
      return std::make_unique<EventsFile>(events_);
    case Kind::status:
      return std::make_unique<TextFile>(status_text());
    case Kind::last_error: {
      const std::lock_guard lock(mutex_);
      return std::make_unique<TextFile>(last_error_);
    }
    default:
      throw Error(EISDIR, "this is a folder");
  }
}

// Temporary files are made where values are, and nowhere else: a file "pc08" among the stations
// would look like one.
void Filesystem::require_draft_folder(const std::string& path) {
  const Node folder = at(folder_of(path));
  if (has_settings(folder) || (folder.kind == Kind::topic && folder.topic == Topic::parameters))
    return;
  const bool has_folders = folder.kind == Kind::topic &&
                           (folder.topic == Topic::stations || folder.topic == Topic::images);
  throw Error(EPERM, has_folders ? std::string(to_string(folder.topic)) +
                                       " are folders: make one with mkdir"
                                 : "no files can be made here");
}

std::unique_ptr<OpenFile> Filesystem::create(const std::string& path, mode_t mode, int flags) {
  if (const auto node = tree_.find(path)) {
    const bool is_new = drafts_.is_hidden(path);
    drafts_.show(path);
    bool is_cached = false;
    return is_new && node->kind == Kind::value ? open_value(*node, O_WRONLY, true)
                                               : open(path, flags, is_cached);
  }
  require_draft_folder(path);
  return std::make_unique<DraftFile>(drafts_.make(path, mode));
}

void Filesystem::truncate(const std::string& path, std::uint64_t length) {
  if (const auto draft = drafts_.find(path)) return draft->truncate(length);
  bool is_cached = false;
  const auto file = open(path, O_WRONLY, is_cached);
  file->truncate(length);
  file->close();
}

void Filesystem::make_folder(const std::string& path) {
  if (find(path)) throw Error(EEXIST, last_part(path) + " is there already");
  const Node folder = at(folder_of(path));
  if (folder.kind == Kind::topic && folder.topic == Topic::stations) {
    call({"station.add", {{"name", last_part(path)}}});
    return;
  }
  if (folder.kind == Kind::topic && folder.topic == Topic::images)
    return tree_.new_images().add(last_part(path));
  if (folder.kind == Kind::versions) {
    if (!last_part(path).starts_with('+'))
      throw Error(EPERM,
                  "versions have numbers: open one with: echo STATION > open; or make one of what "
                  "a session has written, with: mkdir versions/+SESSION");
    call({"version.freeze", {{"image", folder.name}, {"session", last_part(path).substr(1)}}});
    // The new folder's name is its number; but the kernel looks once for the one that it asked for.
    const std::lock_guard lock(mutex_);
    just_made_[path] = folder;
    return;
  }
  throw Error(EPERM, "no folders can be made here");
}

void Filesystem::remove_folder(const std::string& path) {
  const Node node = at(path);
  if (!node.is_folder()) throw Error(ENOTDIR, "this is not a folder");
  if (node.kind == Kind::new_image)
    tree_.new_images().remove(node.name);
  else
    call(removal_of(node));
  drafts_.remove_folder(path);
}

Request Filesystem::removal_of(const Node& folder) {
  if (folder.kind == Kind::version)
    return {"version.discard", {{"image", folder.name}, {"number", folder.version}}};
  if (folder.kind != Kind::thing)
    throw Error(EPERM, "this folder is a part of every store, and can't be removed");
  switch (folder.topic) {
    case Topic::images:
      return {"image.remove", {{"name", folder.name}}};
    case Topic::stations:
      return {"station.remove", {{"name", folder.name}}};
    case Topic::sessions: {
      const json session = picture_.fresh_details(Topic::sessions, folder.name);
      return {"session.end",
              {{"session", folder.name}, {"discard", session.at("state") == "at-rest"}}};
    }
    default:
      return {"layer.remove", {{"layer", folder.name}}};
  }
}

void Filesystem::remove_file(const std::string& path) {
  if (drafts_.remove(path)) return;
  const Node node = at(path);
  if (node.is_folder()) throw Error(EISDIR, "this is a folder");
  if (node.kind == Kind::value && node.topic == Topic::layers) {
    call({"layer.remove", {{"layer", node.name}}});
    return;
  }
  // An editor whose text was refused, and that puts back what it had moved away.
  if (node.kind == Kind::value && drafts_.was_hidden(path, after_an_editor))
    return drafts_.hide(path);
  // Else `rm -r` of a station would take its values one by one, and then fail.
  throw Error(EPERM, last_part(path) + " is always there, and can't be removed" +
                         (node.kind == Kind::value && node.field->clearable
                              ? "; to clear it, empty it: > " + last_part(path)
                              : ""));
}

void Filesystem::rename_draft(const std::string& from, const std::string& to) {
  const auto target = tree_.find(to);
  if (!target) {
    require_draft_folder(to);
    return drafts_.rename(from, to);
  }
  if (target->kind != Kind::value) throw Error(EPERM, last_part(to) + " can't be replaced");
  drafts_.show(to);
  // Refused: the editor keeps what it has written. An old text that is put back is no change.
  const auto draft = drafts_.find(from);
  if (draft && draft->text() != tree_.fresh_text(*target)) set(*target, draft->text());
  drafts_.remove(from);
}

// As editors do that keep the old text beside the new.
void Filesystem::move_value_away(const std::string& from, const Node& value,
                                 const std::string& to) {
  if (value.field->set == nullptr || (tree_.find(to) && !drafts_.find(to)))
    throw Error(EPERM, last_part(from) + " can't be moved");
  require_draft_folder(to);
  drafts_.make(to, 0600, tree_.fresh_text(value));
  drafts_.hide(from);
}

void Filesystem::rename(const std::string& from, const std::string& to, bool replaces) {
  if (!replaces && (drafts_.find(to) || find(to)))
    throw Error(EEXIST, last_part(to) + " is there already");
  if (drafts_.find(from)) return rename_draft(from, to);
  const Node node = at(from);
  if (node.kind == Kind::value) return move_value_away(from, node, to);
  const std::vector<std::string> target = split_path(to);
  if (node.kind != Kind::thing || node.topic != Topic::stations || target.size() != 2 ||
      target[0] != to_string(Topic::stations))
    throw Error(EPERM, last_part(from) + " can't be renamed");
  call({"station.rename", {{"name", node.name}, {"to", target[1]}}});
  drafts_.remove_folder(from);
}

void Filesystem::set_mode(const std::string& path, mode_t mode) {
  if (const auto draft = drafts_.find(path)) return draft->set_mode(mode);
  if ((tree_.attributes(at(path)).st_mode & 07777) != (mode & 07777))
    throw Error(EPERM, "modes are options of the mount: see plydiskfs(1)");
}

void Filesystem::set_owner(const std::string& path, uid_t uid, gid_t gid) {
  if (!drafts_.find(path)) at(path);
  const auto is_same = [](auto wanted, auto own) {
    return wanted == static_cast<decltype(wanted)>(-1) || wanted == own;
  };
  if (!is_same(uid, access_.uid) || !is_same(gid, access_.gid))
    throw Error(EPERM, "all files of the mount are of the one who made it");
}

void Filesystem::set_time(const std::string& path, std::int64_t changed) {
  if (const auto draft = drafts_.find(path)) return draft->set_time(changed);
  at(path);  // whose times are those of its changes
}

}  // namespace plydisk
