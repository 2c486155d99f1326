#include "compare_with_log.hpp"

#include <fstream>
#include <iterator>
#include <set>

#include "power_cut.hpp"

namespace plydisk::torture {

namespace {

std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

std::vector<std::string> compare_with_log(const Recorder& recorder,
                                          const std::filesystem::path& scratch) {
  PowerCut power_cut(recorder.operations());
  power_cut.advance(recorder.operations().size());
  CutChoice choice;
  choice.content = CutChoice::Content::all;
  const auto rebuilt = scratch / "rebuilt";
  power_cut.rebuild(choice, rebuilt);
  std::vector<std::string> faults;
  std::set<std::string> paths;
  for (const auto& root : {recorder.root(), rebuilt})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
      if (entry.is_regular_file()) paths.insert(entry.path().lexically_relative(root).string());
  for (const std::string& path : paths) {
    const std::string name = std::filesystem::path(path).filename().string();
    if (name == "map" || name == "lock") continue;
    if (content_of(recorder.root() / path) != content_of(rebuilt / path) ||
        std::filesystem::exists(recorder.root() / path) != std::filesystem::exists(rebuilt / path))
      faults.push_back("the log of changes does not lead to the present " + path +
                       ": something changes it past StorageObserver");
  }
  return faults;
}

}  // namespace plydisk::torture
