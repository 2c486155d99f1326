#include "capture_folder.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "store/destination.hpp"
#include "store/names.hpp"

namespace plydisk {

CaptureFolder::CaptureFolder(std::filesystem::path path) : path_(std::move(path)) {
  for (const std::filesystem::path& folder : {path_.parent_path(), path_})
    if (!std::filesystem::exists(folder)) create_directory_durably(folder);
  lock_ = lock_directory(path_);
  if (!lock_) throw Error(EBUSY, "this capture is under way already, in " + path_.string());
}

void CaptureFolder::remove() const {
  remove_tree(path_);
  sync_directory(path_.parent_path());
}

std::filesystem::path image_folder(const Command& command, const nlohmann::json& params) {
  const auto image = params.at("name").get<std::string>();
  require_valid_name("image", image);
  if (params.contains("writes")) static_cast<void>(WritePlan(params["writes"].get<std::string>()));
  const nlohmann::json images = command.call("image.list", nlohmann::json::object());
  if (std::ranges::any_of(images, [&](const auto& it) { return it["name"] == image; }))
    throw Error(EEXIST, "there is an image " + quote(image) +
                            " already; remove it first, or give the new one another name");
  return command.store_directory() / "captures" / image;
}

}  // namespace plydisk
