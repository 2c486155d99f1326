#include "new_images.hpp"

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

void NewImages::add(const std::string& name) {
  require_valid_name("image", name);
  const std::lock_guard lock(mutex_);
  if (names_.size() >= most)
    throw Error(ENOSPC, "there are too many images without a size: remove some with rmdir");
  names_.insert(name);
}

bool NewImages::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return names_.contains(name);
}

void NewImages::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_.erase(name);
}

std::set<std::string> NewImages::names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

}  // namespace plydisk
