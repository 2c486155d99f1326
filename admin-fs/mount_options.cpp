#include "mount_options.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

// What libfuse and the kernel are told, and what is for mount(8) alone.
constexpr std::array passed_on{"allow_other", "allow_root", "auto_unmount", "ro",
                               "nosuid",      "nodev",      "noexec",       "exec",
                               "sync",        "dirsync",    "noatime",      "atime"};
constexpr std::array ignored{"rw",    "suid",   "dev",    "async",    "relatime", "norelatime",
                             "auto",  "noauto", "nofail", "defaults", "_netdev",  "user",
                             "users", "nouser", "owner",  "group"};

mode_t parse_mode(const std::string& name, const std::string& text, mode_t most) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || mode > most)
    throw Error(EINVAL, name + " takes an octal mode, as in " + name + "=750, not " + quote(text));
  return mode;
}

unsigned parse_id(const std::string& name, const std::string& text) {
  unsigned id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(EINVAL, name + " takes a number, not " + quote(text));
  return id;
}

bool contains(const auto& list, const std::string& word) {
  return std::any_of(list.begin(), list.end(), [&](const char* known) { return word == known; });
}

void parse_option(const std::string& option, MountOptions& options) {
  const auto equals = option.find('=');
  const std::string name = option.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
  std::vector<std::string> known{"disks", "files", "uid", "gid"};
  for (const Topic topic : all_topics) {
    if (name == to_string(topic)) {
      options.access.topics[static_cast<std::size_t>(topic)] = parse_mode(name, value, 0777);
      return;
    }
    known.emplace_back(to_string(topic));
  }
  if (name == "disks") {
    options.access.disks = parse_mode(name, value, 0444);
  } else if (name == "files") {
    options.access.files = parse_mode(name, value, 0444);
  } else if (name == "uid") {
    options.access.uid = parse_id(name, value);
  } else if (name == "gid") {
    options.access.gid = parse_id(name, value);
  } else if (contains(passed_on, option)) {
    options.for_fuse.push_back(option);
  } else if (!contains(ignored, option) && !name.starts_with("x-")) {
    known.insert(known.end(), passed_on.begin(), passed_on.end());
    throw Error(EINVAL, "there is no mount option " + quote(name) + suggestion(name, known));
  }
}

void parse_list(const std::string& list, MountOptions& options) {
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t comma = std::min(list.find(',', from), list.size());
    if (comma > from) parse_option(list.substr(from, comma - from), options);
    from = comma + 1;
  }
}

// A store's folder, or its control socket.
void set_store(const std::string& path, MountOptions& options) {
  const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  std::error_code ignored_error;
  options.server_only =
      std::filesystem::is_socket(whole, ignored_error) ||
      (whole.filename() == "control" && !std::filesystem::is_directory(whole, ignored_error));
  options.store = options.server_only ? whole.parent_path() : whole;
}

}  // namespace

MountRequest parse_mount_options(const std::vector<std::string>& words) {
  MountRequest request;
  MountOptions& options = request.options;
  options.access.uid = ::geteuid();
  options.access.gid = ::getegid();
  options.access.topics.fill(0755);
  std::vector<std::string> places;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-h" || word == "--help") {
      request.help = true;
    } else if (word == "-V" || word == "--version") {
      request.version = true;
    } else if (word == "-f" || word == "--foreground") {
      options.foreground = true;
    } else if (word == "-o") {
      if (++i == words.size()) throw Error(EINVAL, "-o takes a list of options");
      parse_list(words[i], options);
    } else if (word.starts_with("-o")) {
      parse_list(word.substr(2), options);
    } else if (word.size() > 1 && word[0] == '-') {
      throw Error(EINVAL, "there is no option " + quote(word));
    } else {
      places.push_back(word);
    }
  }
  if (request.help || request.version) return request;
  if (places.empty())
    throw Error(EINVAL, "say where to mount: plydiskfs [STORE|SOCKET] MOUNTPOINT");
  if (places.size() > 2)
    throw Error(EINVAL, "there are too many words: plydiskfs [STORE|SOCKET] MOUNTPOINT");
  const char* const chosen = std::getenv("PLYDISK_STORE");
  set_store(places.size() == 2  ? places[0]
            : chosen != nullptr ? std::string(chosen)
                                : "/var/lib/plydisk",
            options);
  options.mountpoint = std::filesystem::absolute(places.back()).lexically_normal().string();
  return request;
}

const char* mount_help() {
  return "usage: plydiskfs [-f] [-o OPTION[,OPTION…]] [STORE|SOCKET] MOUNTPOINT\n"
         "       mount -t fuse.plydiskfs [-o OPTION…] STORE|SOCKET MOUNTPOINT\n"
         "\n"
         "Shows a store's images, stations, sessions, layers and parameters as files, to be "
         "edited.\n"
         "The store is /var/lib/plydisk, or what $PLYDISK_STORE says. While a server serves it,\n"
         "the mount works through the server; else it works on the store itself.\n"
         "\n"
         "  -f, --foreground   stay in the foreground, and log to standard error\n"
         "  -h, --help         show this\n"
         "  -V, --version      show the version\n"
         "\n"
         "Options:\n"
         "  allow_other        others than the one who mounts it may look, as far as modes allow\n"
         "  parameters=MODE, images=MODE, stations=MODE, sessions=MODE, layers=MODE\n"
         "                     modes of the folders, octal (755); files in them have no more\n"
         "  disks=MODE         of whole disks (400)\n"
         "  files=MODE         of events, status and last-error (444)\n"
         "  uid=N, gid=N       whose all of it is (who mounts it)\n"
         "  ro                 nothing can be changed\n"
         "\n"
         "Unmount it with: umount MOUNTPOINT, or fusermount3 -u MOUNTPOINT\n";
}

}  // namespace plydisk
