#include "tree.hpp"

#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "field_text.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;
using Kind = Node::Kind;

namespace {

constexpr std::array<std::pair<const char*, Kind>, 3> root_files{{
    {"events", Kind::events},
    {"status", Kind::status},
    {"last-error", Kind::last_error},
}};

std::optional<Topic> topic_called(const std::string& name) {
  for (const Topic topic : all_topics)
    if (name == to_string(topic)) return topic;
  return std::nullopt;
}

std::span<const Field> fields_of(const Node& folder) {
  if (folder.kind == Kind::root) return store_fields();
  if (folder.kind == Kind::version) return version_fields();
  if (folder.kind == Kind::new_image) return new_image_fields();
  switch (folder.topic) {
    case Topic::images:
      return image_fields();
    case Topic::stations:
      return station_fields();
    case Topic::sessions:
      return session_fields();
    case Topic::layers:
      return layer_fields();
    case Topic::parameters:
      break;
  }
  return {};
}

// A node in the folder, of the same thing.
Node inside(Node folder, Kind kind, const Field* field = nullptr) {
  folder.kind = kind;
  folder.field = field;
  return folder;
}

// What the fields of a version are read from.
json version_record(const json& image, unsigned number) {
  for (const json& version : image.at("versions")) {
    if (version.at("number") != number) continue;
    json record = version;
    record["size"] = image.at("size");
    record["image_uuid"] = image.at("uuid");
    return record;
  }
  throw Error(ENOENT, "there is no such version");
}

Node version_node(const Node& in, const json& version) {
  Node node = inside(in, Kind::version);
  node.version = static_cast<unsigned>(std::stoul(version.at("name").get<std::string>()));
  node.changed = version.at("changed");
  return node;
}

Node new_image_node(const std::string& name) {
  Node node;
  node.kind = Kind::new_image;
  node.topic = Topic::images;
  node.name = name;
  node.is_new = true;
  return node;
}

// Names of reports, which another image of the same name must not have.
std::string report_key(const Node& value, const json& thing) {
  const std::string uuid = thing.value(value.version != 0 ? "image_uuid" : "uuid", "");
  return uuid + "/" + std::to_string(value.version) + "/" + value.field->name;
}

// A version that is called by its number; or the open or the published one.
bool is_called(const json& version, const std::string& name) {
  return version.at("name") == name ||
         ((name == "open" || name == "published") && version.at("state") == name);
}

}  // namespace

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t from = 1; from < path.size();) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    parts.push_back(path.substr(from, slash - from));
    from = slash + 1;
  }
  return parts;
}

std::optional<Node> Tree::find(const std::string& path) {
  const std::vector<std::string> parts = split_path(path);
  if (parts.empty()) return Node{};
  if (const auto topic = topic_called(parts[0])) return find_in_topic(parts, *topic);
  if (parts.size() > 1) return std::nullopt;
  for (const auto& [name, kind] : root_files)
    if (parts[0] == name) return inside({}, kind);
  if (const Field* const field = find_field(store_fields(), parts[0]))
    return inside({}, Kind::value, field);
  return std::nullopt;
}

std::optional<Node> Tree::find_in_topic(const std::vector<std::string>& path, Topic topic) {
  Node node;
  node.kind = Kind::topic;
  node.topic = topic;
  const auto names = picture_.names(topic);
  if (path.size() == 1) {
    for (const auto& [name, entry] : *names) node.changed = std::max(node.changed, entry.changed);
    return node;
  }
  node.kind = Kind::thing;
  node.name = path[1];
  if (topic == Topic::sessions) node.name = picture_.find_session(path[1]).value_or("");
  const auto found = names->find(node.name);
  if (found == names->end()) return topic == Topic::images ? find_in_new_image(path) : std::nullopt;
  // Made by another way, it is not to be made any more.
  if (topic == Topic::images) new_images_.remove(node.name);
  node.changed = found->second.changed;
  if (topic == Topic::parameters) {
    if (path.size() > 2) return std::nullopt;
    return inside(node, Kind::value, &parameter_fields().front());
  }
  if (path.size() == 2) return node;
  if (topic == Topic::images && path[2] == "versions")
    return find_in_image(path, node, found->second.record);
  if (path.size() > 3) return std::nullopt;
  if (const Field* const field = find_field(fields_of(node), path[2]))
    return inside(node, Kind::value, field);
  if (has_disk(node) && path[2] == "disk") return inside(node, Kind::disk);
  if (topic == Topic::stations && path[2] == "session" && picture_.session_of(node.name))
    return inside(node, Kind::session_link);
  return std::nullopt;
}

std::optional<Node> Tree::find_in_new_image(const std::vector<std::string>& path) {
  if (path.size() > 3 || !new_images_.has(path[1])) return std::nullopt;
  const Node node = new_image_node(path[1]);
  if (path.size() == 2) return node;
  const Field* const field = find_field(new_image_fields(), path[2]);
  return field == nullptr ? std::nullopt : std::optional(inside(node, Kind::value, field));
}

std::optional<Node> Tree::find_in_image(const std::vector<std::string>& path, Node image,
                                        const json& record) {
  if (path.size() == 3) return inside(image, Kind::versions);
  for (const json& version : record.at("versions")) {
    if (!is_called(version, path[3])) continue;
    const Node node = version_node(image, version);
    if (path.size() == 4) return node;
    if (path.size() > 5) return std::nullopt;
    if (path[4] == "disk") return inside(node, Kind::disk);
    if (const Field* const field = find_field(version_fields(), path[4])) {
      Node value = inside(node, Kind::value, field);
      value.changed = std::max(value.changed, image.changed);
      return value;
    }
  }
  return std::nullopt;
}

Node Tree::at(const std::string& path) {
  if (auto node = find(path)) return *node;
  throw Error(ENOENT, "there is no " + path.substr(1) + " in this store");
}

std::vector<Tree::Entry> Tree::list(const Node& folder) {
  std::vector<Entry> entries;
  switch (folder.kind) {
    case Kind::root:
      for (const Topic topic : all_topics)
        entries.push_back({to_string(topic), *find(std::string("/") + to_string(topic))});
      for (const auto& [name, kind] : root_files) entries.push_back({name, inside({}, kind)});
      break;
    case Kind::topic: {
      // Kept: another thread may have been told of a change meanwhile.
      const auto names = picture_.names(folder.topic);
      for (const auto& [name, entry] : *names) {
        Node node = inside(folder, Kind::thing);
        node.name = name;
        node.changed = entry.changed;
        if (folder.topic == Topic::parameters)
          node = inside(node, Kind::value, &parameter_fields().front());
        entries.push_back({name, node});
      }
      if (folder.topic == Topic::images)
        for (const std::string& name : new_images_.names())
          if (!names->contains(name)) entries.push_back({name, new_image_node(name)});
      return entries;
    }
    case Kind::versions: {
      const auto names = picture_.names(Topic::images);
      const auto image = names->find(folder.name);
      if (image == names->end()) return entries;
      for (const json& version : image->second.record.at("versions"))
        entries.push_back({version.at("name"), version_node(folder, version)});
      return entries;
    }
    default:
      break;
  }
  for (const Field& field : fields_of(folder))
    entries.push_back({field.name, inside(folder, Kind::value, &field)});
  if (has_disk(folder)) entries.push_back({"disk", inside(folder, Kind::disk)});
  if (folder.kind == Kind::thing && folder.topic == Topic::images)
    entries.push_back({"versions", inside(folder, Kind::versions)});
  if (folder.kind == Kind::thing && folder.topic == Topic::stations &&
      picture_.session_of(folder.name))
    entries.push_back({"session", inside(folder, Kind::session_link)});
  return entries;
}

bool Tree::has_disk(const Node& folder) {
  if (folder.kind != Kind::thing) return folder.kind == Kind::version;
  // An image may have gone whose name a station's entry still has.
  return folder.topic == Topic::sessions ||
         (folder.topic == Topic::stations &&
          picture_.names(Topic::images)->contains(image_of(folder)));
}

// Empty: none.
std::string Tree::image_of(const Node& disk) {
  if (disk.topic == Topic::images) return disk.name;
  const auto details = picture_.details(disk.topic, disk.name);
  return details->at("image").is_null() ? "" : details->at("image").get<std::string>();
}

mode_t Tree::mode_of(const Node& node) const {
  const mode_t topic = access_.topics[static_cast<std::size_t>(node.topic)];
  switch (node.kind) {
    case Kind::root:
      return S_IFDIR | 0755;
    case Kind::session_link:
      return S_IFLNK | 0777;
    case Kind::disk:
      // Who writes a station's is its firmware: nobody but the owner.
      return S_IFREG | (access_.disks | (node.topic == Topic::stations ? 0200 : 0));
    case Kind::value:
      return S_IFREG | (node.field->mode & ((node.name.empty() ? access_.files : topic) | 0600));
    case Kind::events:
    case Kind::status:
    case Kind::last_error:
      return S_IFREG | access_.files;
    default:
      return S_IFDIR | topic;
  }
}

struct stat Tree::attributes(const Node& node) {
  struct stat info {};
  info.st_mode = mode_of(node);
  info.st_uid = access_.uid;
  info.st_gid = access_.gid;
  info.st_nlink = node.is_folder() ? 2 : 1;
  info.st_blksize = node.kind == Kind::disk ? 1 << 20 : 4096;
  info.st_mtim.tv_sec = node.changed != 0 ? node.changed : made_;
  info.st_ctim = info.st_atim = info.st_mtim;
  if (node.kind == Kind::value) info.st_size = static_cast<off_t>(text(node).size());
  if (node.kind == Kind::session_link) info.st_size = static_cast<off_t>(link_target(node).size());
  if (node.kind == Kind::disk) {
    const auto details = picture_.details(Topic::images, image_of(node));
    info.st_size = details->at("size").get<off_t>();
    // So that copying programs look for holes.
    info.st_blocks = std::min(details->at("allocated").get<off_t>(), info.st_size) / 512;
  }
  return info;
}

// What the field of a value is read from.
std::shared_ptr<const json> Tree::thing_of(const Node& value, bool is_fresh) {
  std::shared_ptr<const json> thing;
  if (value.is_new)
    thing = std::make_shared<const json>(json{{"name", value.name}});
  else if (value.name.empty())
    thing = std::make_shared<const json>(json::object());
  else if (is_fresh)
    thing = std::make_shared<const json>(picture_.fresh_details(value.topic, value.name));
  else
    thing = picture_.details(value.topic, value.name);
  if (value.version != 0)
    thing = std::make_shared<const json>(version_record(*thing, value.version));
  if (!value.field->is_command) return thing;
  json with_report = *thing;
  with_report[value.field->name] = reports_.find(report_key(value, *thing));
  return std::make_shared<const json>(std::move(with_report));
}

std::string Tree::text(const Node& value) {
  return value.field->get(*thing_of(value, false), value.field->name) + "\n";
}

std::string Tree::fresh_text(const Node& value) {
  return value.field->get(*thing_of(value, true), value.field->name) + "\n";
}

void Tree::check_line(const Node& value, const std::string& line) {
  value.field->check_line(*thing_of(value, false), line);
  if (!value.field->has_stations) return;
  const auto names = picture_.names(Topic::stations);
  for (const std::string& station : words_of(line))
    if (!names->contains(station)) picture_.fresh_details(Topic::stations, station);
}

std::optional<Tree::Change> Tree::change(const Node& value, const std::string& text) {
  const Field& field = *value.field;
  const std::string label =
      value.topic == Topic::parameters && !value.name.empty() ? value.name : field.name;
  if (field.set == nullptr)
    throw Error(EACCES, label + " is told by the server, and not to be set");
  const std::size_t end = text.find_last_not_of('\n');
  const std::string plain = text.substr(0, end == std::string::npos ? 0 : end + 1);
  if (plain.empty() && !field.clearable) throw Error(EINVAL, label + " can't be empty");
  if (field.check_line == nullptr && plain.find('\n') != std::string::npos)
    throw Error(EINVAL, label + " takes one line, not several");
  const auto thing = thing_of(value, true);
  std::optional<Request> request = field.set(*thing, field.name, plain);
  if (!request) return std::nullopt;
  return Change{std::move(*request), field.is_command ? report_key(value, *thing) : ""};
}

std::string Tree::link_target(const Node& session_link) {
  const auto session = picture_.session_of(session_link.name);
  if (!session) throw Error(ENOENT, "the station has no session");
  return "../../sessions/" + *session;
}

json Tree::disk_of(const Node& disk) {
  if (disk.topic == Topic::sessions) return {{"session", disk.name}};
  if (disk.topic == Topic::stations) return {{"station", disk.name}};
  return {{"image", disk.name}, {"version", disk.version}};
}

}  // namespace plydisk
