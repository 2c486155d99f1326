// One server under comparison: its connections, and the slices of work that it is given.
#pragma once

#include <libnbd.h>
#include <poll.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "options.hpp"
#include "requests.hpp"

namespace bench {

struct Slice {
  std::uint64_t operations = 0;  // completed
  double seconds = 0;            // from the first request to the last completion
  double cpu_seconds = 0;        // of the server
};

// Used by one thread. Functions throw std::runtime_error.
class Server {
 public:
  Server(const Options& options, const ServerSpec& spec);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const ServerSpec& spec() const { return spec_; }
  std::uint64_t disk_bytes() const;
  // Makes the streams of requests; to be called once, before the first slice.
  void prepare(const Permutation& permutation);
  // Works until the slice is over, and waits for what is in flight.
  Slice run_slice();
  // Processor time that the server's process has used so far, seconds.
  double cpu_seconds() const;
  // Reads synchronously, for comparisons.
  void read(std::vector<char>& data, std::uint64_t offset);

 private:
  struct Connection;
  struct Slot {
    Connection* connection = nullptr;
    std::vector<char> data;
    bool flushing = false;  // Operation::write_flush: the write is done, its flush is under way
    int error = 0;
  };
  struct CloseHandle {
    void operator()(nbd_handle* handle) const { nbd_close(handle); }
  };
  struct Connection {
    std::unique_ptr<nbd_handle, CloseHandle> handle;
    std::unique_ptr<RequestStream> requests;
    std::vector<Slot> slots;
    std::vector<Slot*> completed;  // filled by libnbd's callback, which may not call libnbd itself
  };

  static int on_completion(void* slot, int* error);
  void issue(Slot& slot);
  void flush(Slot& slot);
  void wait();

  const Options& options_;
  ServerSpec spec_;
  std::deque<Connection> connections_;
  std::vector<pollfd> polls_;
};

}  // namespace bench
