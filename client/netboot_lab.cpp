#include "netboot_lab.hpp"

#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/error.hpp"
#include "engine.hpp"
#include "interruption.hpp"
#include "netboot/scripts.hpp"

namespace plydisk {

namespace {

namespace fs = std::filesystem;

constexpr const char* target_name = "tgtd";

// The one that was built with this program, or the installed one.
std::string mount_program() {
  const fs::path self = fs::read_symlink("/proc/self/exe");
  const fs::path built = self.parent_path().parent_path() / "admin-fs/plydiskfs";
  return fs::exists(built) ? built.string() : "plydiskfs";
}

bool is_mounted(const fs::path& mount) { return fs::is_directory(mount / "stations"); }

// Processes' numbers are all different, and tgtd takes up to 15 bits.
std::string control_port() { return std::to_string(1 + ::getpid() % 32000); }

}  // namespace

void require_lab(bool with_iscsi, bool with_web) {
  std::vector<Requirement> needed{{"dnsmasq", "dnsmasq-base"}, {"nbdkit", "nbdkit"}};
  if (with_iscsi)
    needed.insert(needed.end(), {{"tgtd", "tgt"},
                                 {"setpriv", "util-linux"},
                                 {"tgt-admin", "tgt"},
                                 {mount_program(), "plydisk"}});
  if (with_web) needed.push_back({"busybox", "busybox"});
  require_installed(needed, "to serve stations");
  if (::geteuid() != 0)
    throw Error(EPERM, "--serve: DHCP and TFTP are for root to serve: run this as root");
}

NetbootLab::NetbootLab(const NetbootLabOptions& options, const Interruption& interruption)
    : options_(options), interruption_(interruption), target_control_(control_port()) {
  if (options_.serves_store)
    start_with_pid_file("nbdkit",
                        {"nbdkit", "--foreground", "--port=" + std::to_string(options_.port),
                         plugin_path("plydisk"), "store=" + options_.store.string()},
                        "--pidfile=");
  if (options_.iscsi) {
    if (!is_mounted(options_.iscsi->mount)) start_mount();
    start_target();
  }
  if (options_.web) start_web_server();
  start_with_pid_file("dnsmasq",
                      {"dnsmasq", "--conf-file=" + options_.dnsmasq_conf.string(),
                       "--keep-in-foreground", "--log-facility=-"},
                      "--pid-file=");
  // It looks at some of its configuration later than that.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  check();
}

// Each before what it needs: tgtd has files of the mount open.
NetbootLab::~NetbootLab() {
  for (; !servers_.empty(); servers_.pop_back())
    if (servers_.back().name == target_name) end_target();
}

// It heeds no signal that asks for an end, only these.
void NetbootLab::end_target() noexcept {
  try {
    run_program({"tgt-admin", "--control-port", target_control_, "--delete", "ALL", "--force"});
    run_program({"tgtadm", "-C", target_control_, "--op", "delete", "--mode", "system"});
  } catch (const std::exception&) {
    // Then it is killed, which costs nothing that was written.
  }
}

void NetbootLab::start_mount() {
  fs::create_directories(options_.iscsi->mount);
  start("plydiskfs",
        {mount_program(), "-f", options_.store.string(), options_.iscsi->mount.string()},
        [this] { return is_mounted(options_.iscsi->mount); });
}

void NetbootLab::start_target() {
  // Should this process be killed, so is it.
  start(target_name,
        {"setpriv", "--pdeathsig", "KILL", "tgtd", "--foreground", "--control-port",
         target_control_, "--iscsi", "portal=" + options_.iscsi->host},
        [this] {
          return run_program({"tgtadm", "-C", target_control_, "--op", "show", "--mode", "sys"})
                     .status == 0;
        });
  update_targets();
}

void NetbootLab::start_web_server() {
  const WebServer& web = *options_.web;
  start("busybox httpd",
        {"busybox", "httpd", "-f", "-u", "nobody", "-p", web.host + ":" + std::to_string(web.port),
         "-h", options_.web_root.string()},
        [&] {
          return run_program({"busybox", "wget", "-Y", "off", "-q", "-O", "/dev/null",
                              web.url() + "/" + menu_script_name})
                     .status == 0;
        });
}

void NetbootLab::update_targets() {
  if (options_.iscsi)
    output_of({"tgt-admin", "--control-port", target_control_, "--conf",
               options_.iscsi->conf.string(), "--update", "ALL"});
}

void NetbootLab::start_with_pid_file(const std::string& name, std::vector<std::string> words,
                                     const std::string& pid_option) {
  const fs::path pid_file = folder_.path() / name;
  words.insert(words.begin() + 1, pid_option + pid_file.string());
  start(name, words, [&] { return fs::exists(pid_file); });
}

void NetbootLab::start(const std::string& name, const std::vector<std::string>& words,
                       const std::function<bool()>& is_ready) {
  servers_.push_back({name, std::make_unique<Program>(words, "", Program::Errors::shown)});
  while (!is_ready()) {
    check();
    if (interruption_.has_come()) throw Error(EINTR, "interrupted before " + name + " served");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void NetbootLab::check() {
  for (Server& server : servers_)
    if (!server.program->is_running())
      throw Error(EIO, server.name + " has ended, and says above why: " +
                           server.program->finish().complaint());
}

}  // namespace plydisk
