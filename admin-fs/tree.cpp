#include "tree.hpp"

#include <algorithm>
#include <ctime>

#include "base/error.hpp"
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
  if (folder.kind == Kind::version) return version_fields();
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

bool has_disk(const Node& folder) {
  return folder.kind == Kind::version ||
         (folder.kind == Kind::thing && folder.topic == Topic::sessions);
}

// A node in the folder, of the same thing.
Node inside(Node folder, Kind kind, const Field* field = nullptr) {
  folder.kind = kind;
  folder.field = field;
  return folder;
}

// The version that it was made of: the one that lacks its newest layer.
json parent_of(const json& image, const json& version) {
  std::vector<json> layers = version.at("layers");
  if (layers.empty()) return nullptr;
  layers.pop_back();
  for (const json& other : image.at("versions"))
    if (other.at("layers") == json(layers)) return other.at("number");
  return nullptr;
}

// What the fields of a version are read from.
json version_record(const json& image, unsigned number) {
  for (const json& version : image.at("versions")) {
    if (version.at("number") != number) continue;
    json record = version;
    record["size"] = image.at("size");
    record["parent"] = parent_of(image, version);
    return record;
  }
  throw Error(ENOENT, "there is no such version");
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
  if (parts.size() == 1)
    for (const auto& [name, kind] : root_files)
      if (parts[0] == name) return inside({}, kind);
  return std::nullopt;
}

std::optional<Node> Tree::find_in_topic(const std::vector<std::string>& path, Topic topic) {
  Node node{Kind::topic, topic, "", 0, nullptr, 0};
  const auto names = picture_.names(topic);
  if (path.size() == 1) {
    for (const auto& [name, entry] : *names) node.changed = std::max(node.changed, entry.changed);
    return node;
  }
  node.kind = Kind::thing;
  node.name = path[1];
  if (topic == Topic::sessions) node.name = picture_.find_session(path[1]).value_or("");
  const auto found = names->find(node.name);
  if (found == names->end()) return std::nullopt;
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

std::optional<Node> Tree::find_in_image(const std::vector<std::string>& path, Node image,
                                        const json& record) {
  if (path.size() == 3) return inside(image, Kind::versions);
  for (const json& version : record.at("versions")) {
    if (version.at("name") != path[3]) continue;
    image.version = static_cast<unsigned>(std::stoul(path[3]));
    image.changed = version.at("changed");
    const Node node = inside(image, Kind::version);
    if (path.size() == 4) return node;
    if (path.size() > 5) return std::nullopt;
    if (path[4] == "disk") return inside(node, Kind::disk);
    if (const Field* const field = find_field(version_fields(), path[4]))
      return inside(node, Kind::value, field);
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
      return entries;
    case Kind::topic: {
      // Kept: another thread may have been told of a change meanwhile.
      const auto names = picture_.names(folder.topic);
      for (const auto& [name, entry] : *names) {
        Node node{Kind::thing, folder.topic, name, 0, nullptr, entry.changed};
        if (folder.topic == Topic::parameters)
          node = inside(node, Kind::value, &parameter_fields().front());
        entries.push_back({name, node});
      }
      return entries;
    }
    case Kind::versions: {
      const auto names = picture_.names(Topic::images);
      const auto image = names->find(folder.name);
      if (image == names->end()) return entries;
      for (const json& version : image->second.record.at("versions")) {
        const std::string name = version.at("name");
        Node node = inside(folder, Kind::version);
        node.version = static_cast<unsigned>(std::stoul(name));
        node.changed = version.at("changed");
        entries.push_back({name, node});
      }
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

mode_t Tree::mode_of(const Node& node) const {
  const mode_t topic = access_.topics[static_cast<std::size_t>(node.topic)];
  switch (node.kind) {
    case Kind::root:
      return S_IFDIR | 0755;
    case Kind::session_link:
      return S_IFLNK | 0777;
    case Kind::disk:
      return S_IFREG | access_.disks;
    case Kind::value:
      return S_IFREG | (node.field->mode & (topic | 0600));
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
    std::string image = node.name;
    if (node.topic == Topic::sessions)
      image = picture_.details(Topic::sessions, node.name)->at("image");
    const auto details = picture_.details(Topic::images, image);
    info.st_size = details->at("size").get<off_t>();
    // So that copying programs look for holes.
    info.st_blocks = std::min(details->at("allocated").get<off_t>(), info.st_size) / 512;
  }
  return info;
}

std::string Tree::text(const Node& value) {
  const auto thing = picture_.details(value.topic, value.name);
  const auto& get = value.field->get;
  if (value.version != 0)
    return get(version_record(*thing, value.version), value.field->name) + "\n";
  return get(*thing, value.field->name) + "\n";
}

std::string Tree::fresh_text(const Node& value) {
  json thing = picture_.fresh_details(value.topic, value.name);
  if (value.version != 0) thing = version_record(thing, value.version);
  return value.field->get(thing, value.field->name) + "\n";
}

std::optional<Request> Tree::request(const Node& value, const std::string& text) {
  const Field& field = *value.field;
  const std::string label = value.topic == Topic::parameters ? value.name : field.name;
  if (field.set == nullptr)
    throw Error(EACCES, label + " is told by the server, and not to be set");
  const std::size_t end = text.find_last_not_of('\n');
  const std::string plain = text.substr(0, end == std::string::npos ? 0 : end + 1);
  if (plain.empty() && !field.clearable) throw Error(EINVAL, label + " can't be empty");
  if (field.check_line == nullptr && plain.find('\n') != std::string::npos)
    throw Error(EINVAL, label + " takes one line, not several");
  return field.set(picture_.fresh_details(value.topic, value.name), field.name, plain);
}

std::string Tree::link_target(const Node& session_link) {
  const auto session = picture_.session_of(session_link.name);
  if (!session) throw Error(ENOENT, "the station has no session");
  return "../../sessions/" + *session;
}

json Tree::disk_of(const Node& disk) {
  if (disk.topic == Topic::sessions) return {{"session", disk.name}};
  return {{"image", disk.name}, {"version", disk.version}};
}

}  // namespace plydisk
