// What an image is copied from, as the store takes it: a path, or a URI.
#pragma once

#include <optional>
#include <string>

#include "private_nbd.hpp"

namespace plydisk {

// Thread safety: one thread, which must keep it until the image is made.
class ImageSource {
 public:
  // `from`: a file, a block device or an NBD URI. `format`: empty: as the file's name says.
  // Throws Error: EINVAL if the file is not of that format, or links and formats don't go together;
  // ENOENT if a program is missing.
  ImageSource(const std::string& from, const std::string& format, bool link);
  const std::string& from() const noexcept { return from_; }
  // What the user may want to know; empty: nothing.
  const std::string& remark() const noexcept { return remark_; }

 private:
  std::string from_, remark_;
  std::optional<PrivateNbdServer> server_;  // of a file that is not raw
};

}  // namespace plydisk
