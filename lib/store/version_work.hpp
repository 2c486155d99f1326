// Work on an image's versions, or the whole of it; for store_*.cpp alone.
#pragma once

#include <string>

#include "store/store_impl.hpp"

namespace plydisk {

// One verb at a time works on the versions of an image. Throws Error(EBUSY).
class StoreImpl::VersionWork {
 public:
  VersionWork(StoreImpl& store, const std::string& image);
  ~VersionWork();
  VersionWork(const VersionWork&) = delete;
  VersionWork& operator=(const VersionWork&) = delete;

 private:
  StoreImpl& store_;
  const std::string image_;
};

}  // namespace plydisk
