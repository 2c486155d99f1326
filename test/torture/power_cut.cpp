#include "power_cut.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "base/file.hpp"

namespace plydisk::torture {

namespace {

using Kind = Operation::Kind;
using Content = CutChoice::Content;

constexpr std::uint64_t unit = 512;
constexpr std::uint64_t never = 0;  // a change is kept if its number is below the unit's time
constexpr std::uint64_t always = std::numeric_limits<std::uint64_t>::max();

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// splitmix64: one well mixed number from one seed.
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

// The bytes that an operation changes in a file whose size is `size` just before it.
struct Range {
  std::uint64_t begin, end;
};
Range changed_range(const Operation& operation, std::uint64_t size) {
  switch (operation.kind) {
    case Kind::write:
      return {operation.offset, operation.offset + operation.data.size()};
    case Kind::punch:
      return {operation.offset, std::min(size, operation.offset + operation.length)};
    default:  // a truncation: what it cuts off reads as zeros when the file grows again
      return {operation.length, size};
  }
}

// Does to `content`, in the units that `keep` names, what the operation did to the whole file.
template <typename Keep>
void change_content(std::vector<std::byte>& content, const Operation& operation, Range range,
                    Keep&& keep) {
  if (range.begin >= range.end) return;
  if (content.size() < range.end) content.resize(range.end);
  for (std::uint64_t at = range.begin; at < range.end;) {
    const std::uint64_t end = std::min(range.end, (at / unit + 1) * unit);
    if (keep(at / unit)) {
      if (operation.kind == Kind::write)
        std::memcpy(&content[at], &operation.data[at - range.begin], end - at);
      else
        std::memset(&content[at], 0, end - at);
    }
    at = end;
  }
}

std::uint64_t changed_size(const Operation& operation, std::uint64_t size) {
  if (operation.kind == Kind::truncate) return operation.length;
  if (operation.kind == Kind::write)
    return std::max(size, operation.offset + operation.data.size());
  return size;
}

// Whether the file system has to allocate or free something for it. Notes what it does.
bool takes_new_blocks(const Operation& operation, std::set<std::uint64_t>& blocks) {
  constexpr std::uint64_t block = 4096;
  bool news = operation.kind == Kind::punch;
  if (operation.kind == Kind::truncate) return true;
  const std::uint64_t end = operation.offset + operation.length;
  for (std::uint64_t at = operation.offset / block; at * block < end; ++at)
    news |= operation.kind == Kind::write ? blocks.insert(at).second : blocks.erase(at) != 0;
  return news;
}

bool is_zero(const std::byte* data, std::size_t length) {
  return length == 0 || (data[0] == std::byte{0} && std::memcmp(data, data + 1, length - 1) == 0);
}

void write_sparsely(const std::filesystem::path& path, const std::vector<std::byte>& content,
                    std::int64_t mtime_ns) {
  const File file = File::open(path, O_CREAT | O_EXCL | O_WRONLY);
  file.truncate(content.size());
  constexpr std::size_t page = 4096;
  for (std::size_t at = 0; at < content.size();) {
    std::size_t end = at;
    while (end < content.size()) {
      const std::size_t piece = std::min(page, content.size() - end);
      if (is_zero(&content[end], piece)) break;
      end += piece;
    }
    if (end > at) file.write(&content[at], end - at, at);
    at = std::min(content.size(), end + page);
  }
  const timespec mtime{mtime_ns / 1'000'000'000, mtime_ns % 1'000'000'000};
  const std::array times{mtime, mtime};
  if (::futimens(file.fd(), times.data()) != 0) throw std::runtime_error("cannot set a time");
}

}  // namespace

// A file or directory, whatever its name is now.
struct PowerCut::Node {
  std::uint64_t number = 0;  // tells files apart when choosing at random
  bool directory = false;
  std::uint64_t created = 0;                  // number of the operation
  std::vector<std::byte> durable;             // content that a sync has made certain
  std::vector<std::uint64_t> later;           // operations that change it, not covered by a sync
  std::set<std::uint64_t> blocks;             // of 4096 bytes, that were written
  std::int64_t durable_mtime = 0, mtime = 0;  // nanoseconds
};

struct PowerCut::NameChange {
  std::uint64_t number;
  Kind kind;
  std::string path, target;
  std::shared_ptr<Node> node;  // created or renamed; null for a removal
};

CutChoice CutChoice::random(std::uint64_t seed) {
  static constexpr std::array kinds{Content::none,       Content::all,        Content::prefix,
                                    Content::newest,     Content::files,      Content::file_times,
                                    Content::operations, Content::operations, Content::units,
                                    Content::units,      Content::units};
  CutChoice choice;
  choice.seed = seed;
  choice.content = kinds[mix(seed) % kinds.size()];
  choice.names = mix(seed + 1) % 2 == 0 ? Names::ordered : Names::strict;
  return choice;
}

std::string to_string(const CutChoice& choice) {
  static constexpr std::array names{"none",  "all",        "prefix",     "newest",
                                    "files", "file_times", "operations", "units"};
  return std::string(names[static_cast<std::size_t>(choice.content)]) + " content, " +
         (choice.names == CutChoice::Names::ordered ? "ordered" : "strict") + " names, choice " +
         std::to_string(choice.seed);
}

PowerCut::PowerCut(const std::vector<Operation>& log) : log_(log) {}
PowerCut::~PowerCut() = default;

void PowerCut::advance(std::uint64_t cut) {
  if (cut < cut_ || cut > log_.size()) throw std::logic_error("a cut outside of the log");
  while (cut_ < cut) {
    apply(cut_);
    ++cut_;
  }
}

void PowerCut::apply(std::uint64_t number) {
  const Operation& operation = log_[number];
  const auto found = live_.find(operation.path);
  const auto node = found == live_.end() ? nullptr : found->second;
  if (node && operation.mtime_ns != 0) node->mtime = operation.mtime_ns;
  switch (operation.kind) {
    case Kind::mark:
      return;
    case Kind::write:
    case Kind::punch:
    case Kind::truncate:
      // Without a name it was removed while open: nobody will see it again.
      if (node) node->later.push_back(number);
      return;
    case Kind::sync: {
      if (!node) return;
      if (operation.with_times) node->durable_mtime = node->mtime;
      const auto covered = std::ranges::lower_bound(node->later, operation.offset);
      for (auto it = node->later.begin(); it != covered; ++it) {
        const Operation& change = log_[*it];
        const std::uint64_t size = changed_size(change, node->durable.size());
        if (size != node->durable.size() || takes_new_blocks(change, node->blocks))
          node->durable_mtime = node->mtime;
        change_content(node->durable, change, changed_range(change, node->durable.size()),
                       [](std::uint64_t) { return true; });
        node->durable.resize(size);
      }
      node->later.erase(node->later.begin(), covered);
      const bool name_pending = std::ranges::any_of(
          pending_, [&](const NameChange& change) { return change.node == node; });
      if (name_pending) ordered_floor_ = std::max(ordered_floor_, node->created + 1);
      return;
    }
    case Kind::create:
    case Kind::create_directory: {
      if (node) return;
      auto made = std::make_shared<Node>();
      made->number = ++nodes_;
      made->directory = operation.kind == Kind::create_directory;
      made->created = number;
      made->mtime = made->durable_mtime = operation.mtime_ns;
      return change_names({number, operation.kind, operation.path, {}, std::move(made)});
    }
    case Kind::remove:
      if (node) change_names({number, operation.kind, operation.path, {}, nullptr});
      return;
    case Kind::rename:
      if (node) change_names({number, operation.kind, operation.path, operation.target, node});
      return;
    case Kind::link:
      if (node) change_names({number, Kind::create, operation.target, {}, node});
      return;
    case Kind::sync_directory:
      return sync_directory(operation.path);
  }
}

namespace {

// Gives what lies in a renamed directory its new path.
template <typename Names>
void move_children(Names& names, const std::string& from, const std::string& to) {
  const std::string inside = from + "/";
  for (auto it = names.lower_bound(inside);
       it != names.end() && it->first.compare(0, inside.size(), inside) == 0;) {
    names[to + it->first.substr(from.size())] = it->second;
    it = names.erase(it);
  }
}

template <typename Names, typename Change>
void change_in(Names& names, const Change& change) {
  switch (change.kind) {
    case Kind::remove:
      names.erase(change.path);
      return;
    case Kind::rename:
      names.erase(change.path);
      names[change.target] = change.node;
      move_children(names, change.path, change.target);
      return;
    default:
      names[change.path] = change.node;
  }
}

}  // namespace

void PowerCut::change_names(NameChange change) {
  change_in(live_, change);
  if (change.path.empty()) return;  // the folder itself, which is durable
  pending_.push_back(std::move(change));
}

void PowerCut::sync_directory(const std::string& directory) {
  std::vector<NameChange> others;
  for (NameChange& change : pending_) {
    const std::string& changed = change.kind == Kind::rename ? change.target : change.path;
    if (parent_of(changed) != directory) {
      others.push_back(std::move(change));
      continue;
    }
    change_in(durable_, change);
    ordered_floor_ = std::max(ordered_floor_, change.number + 1);
  }
  pending_ = std::move(others);
}

PowerCut::Names PowerCut::choose_names(const CutChoice& choice) const {
  Names names = durable_;
  std::mt19937_64 random(mix(choice.seed + 2));
  const bool extreme = choice.content == Content::none || choice.content == Content::all;
  if (choice.names == CutChoice::Names::ordered) {
    std::uint64_t end = ordered_floor_;
    if (choice.content == Content::all) end = cut_;
    if (!extreme && !pending_.empty()) {
      const std::size_t kept = random() % (pending_.size() + 1);
      if (kept > 0) end = std::max(end, pending_[kept - 1].number + 1);
    }
    for (const NameChange& change : pending_)
      if (change.number < end) change_in(names, change);
  } else {
    // A change of a name needs the earlier changes of the same name.
    std::unordered_set<std::string> stopped;
    for (const NameChange& change : pending_) {
      const bool possible = !stopped.contains(change.path) &&
                            (change.target.empty() || !stopped.contains(change.target));
      const bool kept = extreme ? choice.content == Content::all : random() % 2 == 0;
      if (possible && kept) {
        change_in(names, change);
      } else {
        stopped.insert(change.path);
        if (!change.target.empty()) stopped.insert(change.target);
      }
    }
  }
  // What lies in a directory that is not there is not there either. Parents sort before children.
  for (auto it = names.begin(); it != names.end();) {
    const std::string parent = parent_of(it->first);
    const auto holder = names.find(parent);
    const bool reachable = parent.empty() || (holder != names.end() && holder->second->directory);
    it = reachable ? std::next(it) : names.erase(it);
  }
  return names;
}

std::vector<std::byte> PowerCut::choose_content(const Node& node, const CutChoice& choice,
                                                std::uint64_t common_time) const {
  const auto& later = node.later;
  std::vector<std::byte> content = node.durable;
  if (later.empty()) return content;
  const std::uint64_t seed = mix(choice.seed ^ mix(node.number));
  std::mt19937_64 random(seed);
  const auto some_time = [&](std::uint64_t number) {
    const std::uint64_t place = number % (later.size() + 1);
    return place == 0 ? never : later[place - 1] + 1;
  };

  std::uint64_t file_time = never;                              // for all units alike
  std::unordered_map<std::uint64_t, std::uint64_t> unit_times;  // those that differ
  switch (choice.content) {
    case Content::none:
      break;
    case Content::all:
      file_time = always;
      break;
    case Content::prefix:
      file_time = common_time;
      break;
    case Content::files:
      file_time = random() % 2 == 0 ? never : always;
      break;
    case Content::file_times:
      file_time = some_time(random());
      break;
    case Content::newest:
    case Content::operations: {
      // What an operation found in a unit that it changes only partly is kept along with it.
      static constexpr std::array percent{5u, 30u, 70u, 95u};
      const std::uint64_t chance = percent[random() % percent.size()];
      const std::uint64_t from = choice.content == Content::newest ? common_time : 0;
      std::uint64_t size = node.durable.size();
      for (const std::uint64_t number : later) {
        const Range range = changed_range(log_[number], size);
        size = changed_size(log_[number], size);
        const bool kept =
            choice.content == Content::newest ? number >= from : random() % 100 < chance;
        if (!kept) continue;
        for (std::uint64_t at = range.begin / unit; at * unit < range.end; ++at)
          unit_times[at] = number + 1;
      }
      break;
    }
    case Content::units:
      break;
  }
  static constexpr std::array unit_percent{3u, 20u, 50u, 80u, 97u};
  const std::uint64_t chance = unit_percent[random() % unit_percent.size()];
  const auto time_of = [&](std::uint64_t at) -> std::uint64_t {
    if (choice.content == Content::units) {
      const std::uint64_t draw = mix(seed + at);
      if (draw % 100 < chance) return always;
      return draw / 100 % 2 == 0 ? never : some_time(draw / 200);
    }
    const auto own = unit_times.find(at);
    return own == unit_times.end() ? file_time : own->second;
  };

  std::uint64_t size_time = file_time;
  if (choice.content >= Content::operations || choice.content == Content::newest) {
    const std::uint64_t draw = random() % 10;
    size_time = draw < 6 ? always : draw < 8 ? never : some_time(random());
  }
  // A truncation is one change of metadata: it happened for all units or for none, and what was
  // written behind it later can't be there without it.
  struct Truncation {
    std::uint64_t number, size;
    bool kept;
  };
  std::vector<Truncation> truncations;
  std::uint64_t size = node.durable.size();  // as the program saw it
  std::uint64_t kept_size = size;
  for (const std::uint64_t number : later) {
    const Operation& change = log_[number];
    if (change.kind == Kind::truncate && change.length < size)
      truncations.push_back({number, change.length, number < size_time});
    size = changed_size(change, size);
    if (number < size_time) kept_size = size;
  }
  const auto bounded_time_of = [&](std::uint64_t at) {
    std::uint64_t time = time_of(at);
    for (const Truncation& truncation : truncations) {
      if ((at + 1) * unit <= truncation.size) continue;
      if (truncation.kept)
        time = std::max(time, truncation.number + 1);
      else
        time = std::min(time, truncation.number);
    }
    return time;
  };
  size = node.durable.size();
  for (const std::uint64_t number : later) {
    const Operation& change = log_[number];
    change_content(content, change, changed_range(change, size),
                   [&](std::uint64_t at) { return number < bounded_time_of(at); });
    size = changed_size(change, size);
  }
  content.resize(kept_size);
  return content;
}

std::int64_t PowerCut::choose_mtime(const Node& node, const CutChoice& choice) {
  if (choice.content == Content::all) return node.mtime;
  if (choice.content == Content::none) return node.durable_mtime;
  return mix(choice.seed ^ node.number) % 2 == 0 ? node.mtime : node.durable_mtime;
}

void PowerCut::rebuild(const CutChoice& choice, const std::filesystem::path& folder) const {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  // `prefix` ends, and `newest` begins, at the same moment for all files.
  const std::uint64_t draw = mix(choice.seed + 3);
  const std::uint64_t back = choice.content == Content::newest ? 1 + draw % 4 : draw % 64;
  const std::uint64_t common_time = cut_ - std::min(cut_, back);
  std::map<const Node*, std::string> written;
  for (const auto& [path, node] : choose_names(choice)) {
    if (path.empty()) continue;
    const auto [first, is_new] = written.try_emplace(node.get(), path);
    if (node->directory)
      std::filesystem::create_directory(folder / path);
    else if (!is_new)
      std::filesystem::create_hard_link(folder / first->second, folder / path);
    else
      write_sparsely(folder / path, choose_content(*node, choice, common_time),
                     choose_mtime(*node, choice));
  }
}

}  // namespace plydisk::torture
