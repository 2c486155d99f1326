// Lines over a Unix stream socket, and the address of a store's control socket.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/file.hpp"

namespace plydisk {

// The address of STORE/control. A path too long for sun_path goes through a descriptor of the
// folder, which must stay open while the address is used.
class ControlAddress {
 public:
  explicit ControlAddress(const std::filesystem::path& store);
  const std::filesystem::path& path() const { return path_; }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t length() const { return sizeof address_; }

 private:
  std::filesystem::path path_;
  UniqueFd directory_;
  sockaddr_un address_{};
};

// Thread safety: used by one thread at a time.
class LineChannel {
 public:
  // Reads and writes give up as soon as `stop_fd` is readable (-1: never). `limit`: the longest
  // line that is taken, in bytes.
  LineChannel(UniqueFd socket, std::size_t limit, int stop_fd = -1);

  enum class Got {
    line,
    oversized,  // a line over the limit, which is skipped as it arrives
    end,        // the peer is gone, or the channel is stopped
  };
  // What the peer sent last without a newline counts as a line.
  Got read_line(std::string& line);
  // Adds the newline. False if the peer is gone, takes nothing for 30 seconds, or on a stop.
  bool write_line(std::string_view line);
  // Bytes that belong to the line before. False as above, or if the peer is gone.
  bool read_data(void* buffer, std::size_t length);
  bool write_data(const void* data, std::size_t length);
  // Asked now and then while it waits: once it says yes, reads and writes give up as on a stop.
  void give_up_if(std::function<bool()> is_pointless) { is_pointless_ = std::move(is_pointless); }
  // The process that listens at the other end, as this one sees it; 0: it does not.
  int peer_process() const;
  // Whether the peer is gone, or has sent what nobody has read.
  bool is_stale() const;

 private:
  // False on a stop, a timeout or an error. -1: no timeout.
  bool wait_for(short events, int timeout_ms) const;

  UniqueFd socket_;
  std::size_t limit_;
  int stop_fd_;
  std::function<bool()> is_pointless_;
  std::string buffer_;        // read and not yet given out
  std::size_t searched_ = 0;  // of buffer_, without finding a newline
  bool skipping_ = false;     // the rest of an oversized line
  bool ended_ = false;
};

}  // namespace plydisk
