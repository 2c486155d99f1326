#include "private_nbd.hpp"

#include <chrono>
#include <thread>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"

namespace plydisk {

namespace {

std::vector<std::string> with_places(std::vector<std::string> words,
                                     const std::filesystem::path& folder,
                                     const std::string& socket_option,
                                     const std::string& pid_option) {
  // Behind the program's name, since a plugin may follow with words of its own.
  words.insert(words.begin() + 1, {socket_option + "=" + (folder / "nbd").string(),
                                   pid_option + "=" + (folder / "pid").string()});
  return words;
}

}  // namespace

PrivateNbdServer::PrivateNbdServer(std::vector<std::string> words, const std::string& socket_option,
                                   const std::string& pid_option)
    : server_(with_places(std::move(words), folder_.path(), socket_option, pid_option)) {
  while (!std::filesystem::exists(folder_.path() / "pid")) {
    if (!server_.is_running()) server_.require_success();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string PrivateNbdServer::uri() const { return unix_nbd_uri(folder_.path() / "nbd"); }

}  // namespace plydisk
