// A folder with what a boot server needs. Stations read it at any moment: a file in it is complete
// or not there, what a script names is there before the script is, and goes only some time after no
// script names it any more.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"

namespace plydisk {

// Thread safety: one thread. Functions throw Error.
class NetbootFolder {
 public:
  // Makes the folder if it is not there. Throws Error: EEXIST if it has files of others, EBUSY if
  // another process is at work in it, EINVAL if boot servers can't have its name.
  explicit NetbootFolder(const std::filesystem::path& path);
  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path tftp() const { return path_ / "tftp"; }

  // These write the file if it is not as it shall be; paths are from the folder.
  void put_text(const std::filesystem::path& file, const std::string& text);
  void put_copy(const std::filesystem::path& file, const std::filesystem::path& source);
  // One that users change: only if there is none.
  void offer_text(const std::filesystem::path& file, const std::string& text);

  // Files of a version of an image. `source`: what they were made of; another text for others.
  // fn makes them in an empty folder.
  std::string version_source(const std::string& image, unsigned version) const;  // empty: none
  void put_version(const std::string& image, unsigned version, const std::string& source,
                   const std::function<void(const std::filesystem::path& folder)>& fn);

  // Removes scripts that nobody put since the last call, and marks versions that are not in `used`,
  // (image, number), for remove_unused().
  void finish(const std::set<std::pair<std::string, unsigned>>& used);
  // Removes versions that were marked that long ago.
  void remove_unused(std::chrono::seconds grace);

  // What was written and removed since the last call, as paths from the folder.
  struct Changes {
    std::vector<std::string> written, removed;
  };
  Changes take_changes() { return std::exchange(changes_, {}); }

 private:
  std::filesystem::path version_folder(const std::string& image, unsigned version) const;
  // Calls fn(image, version, folder).
  void for_each_version(const std::function<void(const std::string&, unsigned,
                                                 const std::filesystem::path&)>& fn) const;
  void remove(const std::filesystem::path& path);

  std::filesystem::path path_;
  UniqueFd lock_;
  std::set<std::filesystem::path> put_;  // since the last finish()
  Changes changes_;
};

}  // namespace plydisk
