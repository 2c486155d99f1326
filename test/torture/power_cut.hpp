// Rebuilds what a power cut could have left of a folder, from the log of a Recorder.
//
// The model:
// - A cut falls between any two operations. What comes after it never happened.
// - A sync of a file makes durable what was done to its content before the sync began, and its
//   size. Later changes are lost or kept for each unit of 512 bytes by itself: a unit holds what it
//   held after some number of the changes made to it, in order, from none (the durable content) to
//   all. So writes are torn at units and reordered against each other at will, while no unit mixes
//   older and newer bytes: that is what writing back pages of a cache can do. Punches are changes
//   like writes. The size is that after some number of changes, too; a truncation happened as a
//   whole or not at all.
// - Names (creations, removals, renames) become durable when their directory is synced. Before,
//   they may be lost; a rename happened or did not. Two kinds of file system are played:
//   *ordered*, as ext4: names are changed in the order of the calls, and a sync of a new file makes
//   its name durable and all earlier changes of names with it; *strict*, as POSIX allows: each
//   change that no sync of its own directory covered may be lost by itself.
// - The time of the last change of a file is durable when a sync covered a change of its size or a
//   first write to one of its blocks; a sync of data that is rewritten in place need not bring it.
// - A removed file whose removal is lost comes back with its content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "recorder.hpp"

namespace plydisk::torture {

// Which of the possible states is rebuilt; the same choice at the same cut gives the same state.
struct CutChoice {
  enum class Content {
    none,        // nothing but what was synced
    all,         // everything up to the cut, as after a crash of the process alone
    prefix,      // everything up to a moment before the cut
    newest,      // the last few changes and nothing else
    files,       // all or nothing, for each file
    file_times,  // everything up to a moment, another one for each file
    operations,  // some operations as a whole
    units,       // each unit by itself
  };
  enum class Names { ordered, strict };
  Content content = Content::all;
  Names names = Names::ordered;
  std::uint64_t seed = 0;

  // A choice drawn from all kinds.
  static CutChoice random(std::uint64_t seed);
};
std::string to_string(const CutChoice& choice);

class PowerCut {
 public:
  // `log` must outlive it. The recorded folder is taken to be empty and durable at the beginning.
  explicit PowerCut(const std::vector<Operation>& log);
  ~PowerCut();

  // Moves the cut to just before operation number `cut`; never back.
  void advance(std::uint64_t cut);
  std::uint64_t cut() const { return cut_; }
  // Rebuilds a state into `folder`, which is made if needed, and emptied first.
  void rebuild(const CutChoice& choice, const std::filesystem::path& folder) const;

 private:
  struct Node;
  struct NameChange;
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  void apply(std::uint64_t number);
  void change_names(NameChange change);
  void sync_directory(const std::string& directory);
  Names choose_names(const CutChoice& choice) const;
  std::vector<std::byte> choose_content(const Node& node, const CutChoice& choice,
                                        std::uint64_t common_time) const;
  static std::int64_t choose_mtime(const Node& node, const CutChoice& choice);

  const std::vector<Operation>& log_;
  std::uint64_t cut_ = 0;
  std::uint64_t nodes_ = 0;
  Names live_;                       // as the program saw it
  Names durable_;                    // what directory syncs have made certain
  std::vector<NameChange> pending_;  // not covered by a sync of their own directory, in order
  std::uint64_t ordered_floor_ = 0;  // on an ordered file system changes before it are durable
};

}  // namespace plydisk::torture
