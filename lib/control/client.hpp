// The other end of a control socket.
#pragma once

#include <filesystem>
#include <functional>
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
  // Likewise, of a method whose result is bytes: exactly `length` of them.
  void call_for_data(const std::string& method, const nlohmann::json& params, void* buffer,
                     std::size_t length);
  // Asked now and then during a call, which then throws Error(EINTR). Null: never.
  void give_up_if(std::function<bool()> is_pointless);
  // Whether the server is gone, as far as that is known.
  bool is_stale() const { return channel_.is_stale(); }
  // The server's process; 0: it is not to be seen from here.
  int server_process() const { return channel_.peer_process(); }
  // Whether the last answer was read to its end, so that another call can be made.
  bool is_in_order() const noexcept { return in_order_; }

 private:
  explicit ControlClient(UniqueFd socket);
  [[noreturn]] void fail() const;

  LineChannel channel_;
  std::int64_t last_id_ = 0;
  bool in_order_ = true;
  std::function<bool()> is_pointless_;
};

}  // namespace plydisk
