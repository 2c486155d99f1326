// Lets nbdkit end when it is asked to: it waits for its clients, and an idle one sends nothing that
// would wake it.
#pragma once

#include <signal.h>

#include <array>
#include <filesystem>
#include <thread>

#include "base/file.hpp"

namespace plydisk {

// From its making until it is destroyed, SIGTERM, SIGINT, SIGQUIT and SIGHUP also end the reading
// from all connections that were made to this process. What is under way is answered still. There
// is one at most. Made after nbdkit has set up its signals.
class OrderlyEnd {
 public:
  // `control`: a socket whose connections are left alone, or empty.
  explicit OrderlyEnd(std::filesystem::path control);
  ~OrderlyEnd();
  OrderlyEnd(const OrderlyEnd&) = delete;
  OrderlyEnd& operator=(const OrderlyEnd&) = delete;

 private:
  static constexpr std::array signals{SIGTERM, SIGINT, SIGQUIT, SIGHUP};
  void run() const noexcept;

  const std::filesystem::path control_;
  UniqueFd stop_;  // readable when this ends
  std::thread thread_;
};

}  // namespace plydisk
