// One station's load over NBD: many requests under way at once, and the memory of what was
// acknowledged, which must be there after the server was killed.
#pragma once

#include <libnbd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace plydisk::torture {

class NbdLoad {
 public:
  // `content`: of the image, as it is when the station begins.
  NbdLoad(std::string export_name, std::vector<std::byte> content, std::uint64_t seed);
  ~NbdLoad();

  // Connects, and compares the whole disk with what was acknowledged; a sector that a request was
  // under way for when the server died may be old or new. Throws if it is anything else.
  void connect_and_check(const std::string& socket);
  // Makes requests at depth 16 until `stop` is set, or the server dies, or a value that is read is
  // wrong or a request fails while the server lives, which throws.
  void run(const std::atomic<bool>& stop, const std::atomic<bool>& killed);
  // Waits for what is under way, and leaves.
  void disconnect();

  std::uint64_t acknowledged() const { return acknowledged_; }

 private:
  struct Request;
  void make_request();
  void complete(Request& request, int error);
  void poll();
  bool is_connected() const;
  [[noreturn]] void fail_call(const char* doing) const;
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::uint64_t sectors() const;

  const std::string export_name_;
  std::vector<std::byte> content_;  // acknowledged
  std::vector<bool> busy_;          // by sector: a request is under way for it
  std::vector<std::unique_ptr<Request>> requests_;
  std::mt19937_64 random_;
  std::uint64_t generation_ = 2;
  std::uint64_t acknowledged_ = 0;
  std::string fault_;  // that a completion found
  nbd_handle* nbd_ = nullptr;
};

}  // namespace plydisk::torture
