// What mkfs.xfs takes for a folder: a text that names each file with its mode and owner. Its format
// is in mkfs.xfs(8).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace plydisk {

struct XfsProtofile {
  std::string text;
  // It can't say that a folder is sticky, as /tmp is: commands of xfs_db(8) that do.
  std::vector<std::string> corrections;
};
// `fstab`: a file that stands for the tree's /etc/fstab; empty: that one. Names must have no
// spaces.
XfsProtofile make_xfs_protofile(const std::filesystem::path& tree, const std::string& fstab);

}  // namespace plydisk
