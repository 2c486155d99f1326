// The other end of a control socket.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/progress.hpp"
#include "control/channel.hpp"

namespace plydisk {

// Thread safety: used by one thread at a time.
class ControlClient {
 public:
  // Nothing if nobody listens in this store. EACCES if the socket is another user's.
  static std::optional<ControlClient> connect(const std::filesystem::path& store);

  // The result of the method. Throws Error with the errno and the sentence that the server gave;
  // ECONNRESET if it went away before it answered.
  nlohmann::json call(const std::string& method, const nlohmann::json& params,
                      const Progress& progress = {});

 private:
  explicit ControlClient(UniqueFd socket);

  LineChannel channel_;
  std::int64_t last_id_ = 0;
};

}  // namespace plydisk
