// A boot server in the foreground, for a laboratory: dnsmasq, nbdkit unless the store has a server
// already, for iSCSI tgtd over a mount of the store, and for HTTP busybox. All end with the object,
// and with this process.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/program.hpp"
#include "base/temporary_folder.hpp"
#include "netboot/web_server.hpp"

namespace plydisk {

class Interruption;

struct NetbootLabOptions {
  std::filesystem::path store, dnsmasq_conf;
  bool serves_store = true;  // none does
  unsigned port = 0;         // of NBD
  struct Iscsi {
    std::filesystem::path conf;   // for tgt-admin
    std::filesystem::path mount;  // as the configuration has it; mounted if it is not
    std::string host;             // where the target listens
  };
  std::optional<Iscsi> iscsi;
  std::optional<WebServer> web;
  std::filesystem::path web_root;
};

// Throws Error if something is missing that it needs.
void require_lab(bool with_iscsi, bool with_web);

// Thread safety: one thread.
class NetbootLab {
 public:
  // Returns when all serve. What they say goes to standard error. Throws Error(EIO) if one of them
  // does not start, Error(EINTR) at a signal.
  NetbootLab(const NetbootLabOptions& options, const Interruption& interruption);
  ~NetbootLab();
  NetbootLab(const NetbootLab&) = delete;
  NetbootLab& operator=(const NetbootLab&) = delete;
  // Throws Error(EIO) if one of them has ended.
  void check();
  // Makes the targets anew that have changed and that nobody uses; without iSCSI, nothing.
  void update_targets();

 private:
  void start(const std::string& name, const std::vector<std::string>& words,
             const std::function<bool()>& is_ready);
  void start_with_pid_file(const std::string& name, std::vector<std::string> words,
                           const std::string& pid_option);
  void start_mount();
  void start_target();
  void start_web_server();
  void end_target() noexcept;

  struct Server {
    std::string name;
    std::unique_ptr<Program> program;
  };
  const NetbootLabOptions options_;
  const Interruption& interruption_;
  const std::string target_control_;  // tgtd's port for tgt-admin: not that of the system's
  TemporaryFolder folder_;
  std::vector<Server> servers_;
};

}  // namespace plydisk
