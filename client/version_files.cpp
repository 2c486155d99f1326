#include "version_files.hpp"

#include <iostream>
#include <map>
#include <memory>

#include "control/store_caller.hpp"
#include "disk_reader.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

std::string name_of(FileType type) {
  switch (type) {
    case FileType::file:
      return "file";
    case FileType::folder:
      return "folder";
    case FileType::link:
      return "link";
    case FileType::character_device:
    case FileType::block_device:
      return "device";
    case FileType::pipe:
      return "pipe";
    case FileType::socket:
      return "socket";
  }
  return "";
}

std::string name_of(FileChangeKind kind) {
  if (kind == FileChangeKind::added) return "added";
  return kind == FileChangeKind::removed ? "removed" : "changed";
}

json remarks_json(const std::vector<PartitionRemark>& remarks) {
  json list = json::array();
  for (const PartitionRemark& remark : remarks)
    list.push_back({{"partition", remark.partition}, {"reason", remark.sentence}});
  return list;
}

}  // namespace

void add_files(const Command& command, json& difference) {
  // Where each changed range ends, by where it begins.
  std::map<std::uint64_t, std::uint64_t> ends;
  for (const json& range : difference["ranges"])
    ends[range[0]] = range[0].get<std::uint64_t>() + range[1].get<std::uint64_t>();
  const auto is_changed = [&](std::uint64_t offset, std::uint64_t length) {
    auto after = ends.lower_bound(offset + length);
    return after != ends.begin() && std::prev(after)->second > offset;
  };
  StoreCaller::Options options;
  options.linger = std::chrono::seconds(1);  // both disks of one store
  StoreCaller caller(command.store_directory(), options);
  const auto open = [&](const char* which) {
    return caller.open_disk({{"image", difference["image"]}, {"version", difference[which]}});
  };
  const auto before = open("before"), after = open("after");
  const FileComparison comparison =
      compare_files(reader_of(*before), reader_of(*after), is_changed);
  json files = json::array();
  for (const FileChange& change : comparison.changes)
    files.push_back({{"partition", change.partition},
                     {"change", name_of(change.kind)},
                     {"path", change.entry.path},
                     {"type", name_of(change.entry.type)},
                     {"size", change.entry.size}});
  difference["files"] = files;
  difference["unread"] = remarks_json(comparison.unread);
  difference["doubts"] = remarks_json(comparison.doubts);
}

void print_files(const json& difference) {
  Table table({{}, {}, {}, {{}, Table::Align::right}, {}});
  for (const json& file : difference["files"])
    table.add({printable(file["change"]), "partition " + printable(file["partition"]),
               printable(file["type"]), size_text(file["size"]), printable(file["path"])});
  std::cout << table.text();
  for (const char* field : {"unread", "doubts"})
    for (const json& remark : difference[field])
      std::cout << "partition " << printable(remark["partition"]) << " "
                << printable(remark["reason"]) << "\n";
}

}  // namespace plydisk
