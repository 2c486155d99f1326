#include "netboot/folder.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <fstream>

#include "base/error.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr const char* marker = "made-by-plydisk-netboot";
constexpr const char* source_name = "source";
// Beside a version that no script names, since when.
constexpr const char* unused_name = "unused";

// A boot server has no rights of its own over the store, and needs none over this.
void let_all_read(const fs::path& path) {
  if (::chmod(path.c_str(), fs::is_directory(path) ? 0755 : 0644) != 0)
    throw_errno("cannot change the mode of " + path.string());
}

void make_folder(const fs::path& folder) {
  if (fs::is_directory(folder)) return;
  create_directory_durably(folder);
  let_all_read(folder);
}

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Not there yet, or not there any more.
fs::path hidden(const fs::path& path) {
  return path.parent_path() / ("." + path.filename().string() + ".part");
}

void write(const fs::path& file, const std::string& text) {
  write_text_file(file, text);
  let_all_read(file);
}

// What a write or a removal left that was cut short.
void remove_hidden(const fs::path& folder) {
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with('.') && entry.path().extension() == ".part")
      left.push_back(entry.path());
  for (const fs::path& path : left) remove_tree(path);
}

// The configuration of dnsmasq has no way to write such paths.
void require_plain(const fs::path& path) {
  if (path.string().find_first_of("\",\\#\n\r\t") != std::string::npos)
    throw Error(EINVAL, "dnsmasq can't be told of the folder " + path.string() +
                            ": use one without \" , \\ # and tabs in its path");
}

std::int64_t seconds_of(const fs::path& file) {
  struct stat info {};
  return ::stat(file.c_str(), &info) == 0 ? info.st_mtime : 0;
}

}  // namespace

NetbootFolder::NetbootFolder(const fs::path& path) : path_(path) {
  require_plain(path_);
  if (fs::exists(path_) && !fs::is_directory(path_))
    throw Error(ENOTDIR, path_.string() + " is no folder");
  if (!fs::exists(path_.parent_path()))
    throw Error(ENOENT, "there is no folder " + path_.parent_path().string() + ": make it first");
  if (fs::exists(path_) && !fs::is_empty(path_) && !fs::exists(path_ / marker))
    throw Error(EEXIST, path_.string() +
                            " has files that plydisk netboot did not make, and stays as it is: "
                            "name an empty folder, or one that is not there");
  make_folder(path_);
  lock_ = lock_directory(path_);
  if (!lock_)
    throw Error(EBUSY, "another plydisk netboot looks after " + path_.string() +
                           ", and does so with each change if it was started with --follow");
  if (!fs::exists(path_ / marker))
    write(path_ / marker,
          "The files here are made again by plydisk netboot; dhcp-hosts is yours.\n");
  for (const char* folder : {"tftp", "tftp/stations", "tftp/images"}) make_folder(path_ / folder);
  for (const fs::path& folder : {path_, tftp(), tftp() / "stations"}) remove_hidden(folder);
  for (const auto& image : fs::directory_iterator(tftp() / "images"))
    if (image.is_directory()) remove_hidden(image);
}

void NetbootFolder::put_text(const fs::path& file, const std::string& text) {
  const fs::path path = path_ / file;
  put_.insert(file);
  if (fs::is_regular_file(path) && contents(path) == text) return;
  make_folder(path.parent_path());
  write(hidden(path), text);
  replace_file_durably(hidden(path), path);
  changes_.written.push_back(file);
}

void NetbootFolder::put_copy(const fs::path& file, const fs::path& source) {
  put_text(file, contents(source));
}

void NetbootFolder::offer_text(const fs::path& file, const std::string& text) {
  if (!fs::exists(path_ / file)) put_text(file, text);
}

fs::path NetbootFolder::version_folder(const std::string& image, unsigned version) const {
  return tftp() / "images" / image / std::to_string(version);
}

std::string NetbootFolder::version_source(const std::string& image, unsigned version) const {
  return contents(version_folder(image, version) / source_name);
}

void NetbootFolder::put_version(const std::string& image, unsigned version,
                                const std::string& source,
                                const std::function<void(const fs::path& folder)>& fn) {
  const fs::path folder = version_folder(image, version), unfinished = hidden(folder);
  make_folder(folder.parent_path());
  if (fs::exists(unfinished)) remove_tree(unfinished);
  make_folder(unfinished);
  try {
    fn(unfinished);
    write(unfinished / source_name, source);
    for (const auto& entry : fs::directory_iterator(unfinished)) {
      let_all_read(entry);
      File::open(entry.path(), O_RDWR).sync();
    }
    sync_directory(unfinished);
    // An image that was written directly has another version of the same number.
    const bool is_new = !fs::exists(folder);
    if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, folder.c_str(),
                    is_new ? RENAME_NOREPLACE : RENAME_EXCHANGE) != 0)
      throw_errno("cannot make " + folder.string());
    sync_directory(folder.parent_path());
    if (!is_new) remove_tree(unfinished);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  changes_.written.push_back(fs::relative(folder, path_));
}

void NetbootFolder::for_each_version(
    const std::function<void(const std::string&, unsigned, const fs::path&)>& fn) const {
  std::vector<fs::path> folders;
  for (const auto& image : fs::directory_iterator(tftp() / "images"))
    if (image.is_directory())
      for (const auto& version : fs::directory_iterator(image))
        if (version.is_directory()) folders.push_back(version);
  std::ranges::sort(folders);
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename();
    unsigned number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size())
      fn(folder.parent_path().filename(), number, folder);
  }
}

// At once for who opens it, though its files may take a while to go.
void NetbootFolder::remove(const fs::path& path) {
  rename_file(path, hidden(path));
  remove_tree(hidden(path));
  changes_.removed.push_back(fs::relative(path, path_));
}

void NetbootFolder::finish(const std::set<std::pair<std::string, unsigned>>& used) {
  std::vector<fs::path> scripts;
  const auto look = [&](const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_regular_file() && !put_.contains(fs::relative(entry.path(), path_)))
        scripts.push_back(entry);
  };
  look(tftp() / "stations");
  for (const auto& image : fs::directory_iterator(tftp() / "images"))
    if (image.is_directory()) look(image);
  for (const fs::path& script : scripts) remove(script);
  put_.clear();
  for_each_version([&](const std::string& image, unsigned version, const fs::path& folder) {
    const fs::path unused = folder / unused_name;
    if (used.contains({image, version})) {
      fs::remove(unused);
    } else if (!fs::exists(unused)) {
      write(unused, "");
    }
  });
}

void NetbootFolder::remove_unused(std::chrono::seconds grace) {
  const std::int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  for_each_version([&](const std::string&, unsigned, const fs::path& folder) {
    const fs::path unused = folder / unused_name;
    if (fs::exists(unused) && now - seconds_of(unused) >= grace.count()) remove(folder);
  });
  std::vector<fs::path> empty;
  for (const auto& image : fs::directory_iterator(tftp() / "images"))
    if (image.is_directory() && fs::is_empty(image)) empty.push_back(image);
  for (const fs::path& folder : empty) fs::remove(folder);
}

}  // namespace plydisk
