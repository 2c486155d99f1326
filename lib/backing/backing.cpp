#include "backing/backing.hpp"

#include "backing/nbd_backing.hpp"

namespace plydisk {

thread_local bool ThrowIfAway::is_set_ = false;

std::shared_ptr<Backing> open_backing(const std::string& where, const NbdOptions& options) {
  return is_nbd_uri(where) ? open_nbd_backing(where, options) : open_file_backing(where);
}

}  // namespace plydisk
