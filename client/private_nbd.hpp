// A disk that is served over NBD to one other program, on a socket that others can't reach.
#pragma once

#include <string>
#include <vector>

#include "base/program.hpp"
#include "base/temporary_folder.hpp"

namespace plydisk {

// Thread safety: as Program.
class PrivateNbdServer {
 public:
  // `words`: the server, without where it is to listen; `socket_option` and `pid_option`: its
  // options for that, and for a file with its process number, which it makes once it listens.
  // Throws Error(EIO) with what it complains of.
  PrivateNbdServer(std::vector<std::string> words, const std::string& socket_option,
                   const std::string& pid_option);
  std::string uri() const;

 private:
  TemporaryFolder folder_;
  Program server_;
};

}  // namespace plydisk
