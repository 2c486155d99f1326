// `plydisk netboot`: the files of a boot server, once, whenever the store changes, or served.
#include <poll.h>

#include <iostream>
#include <memory>

#include "base/error.hpp"
#include "control/store_caller.hpp"
#include "interruption.hpp"
#include "netboot.hpp"
#include "netboot/disc.hpp"
#include "netboot_lab.hpp"
#include "output_file.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

struct NetbootVerbOptions {
  std::string directory, server, range, proxy, web, mount = "/mnt/plydisk", serve, iso;
  CLI::Option* mount_option = nullptr;
  unsigned timeout = 10, grace = 600;
  bool follow = false, iscsi = false, force = false;
};

void print_netboot(const json& result) {
  Table table({{"IMAGE"}, {"VERSION", Table::Align::right}, {"KERNEL"}, {"REMARK"}});
  for (const json& image : result["images"])
    table.add({printable(image["name"]), printable(image["version"]), printable(image["kernel"]),
               printable(image["remark"])});
  std::cout << table.text() << printable(result["directory"]) << ": " << result["written"].size()
            << " written, " << result["removed"].size() << " removed; stations are known by their "
            << printable(result["identity"]) << ", and get their disks from "
            << printable(result["server"]) << "\n";
  if (!result["iso"].is_null())
    std::cout << "made " << printable(result["iso"]) << ", a disc image for a CD or a USB stick\n";
}

void print_changes(const json& result) {
  for (const char* change : {"written", "removed"})
    for (const json& file : result[change]) std::cout << change << " " << printable(file) << "\n";
}

// What goes on until a signal comes.
class NetbootFollower {
 public:
  NetbootFollower(const Command& command, Netboot& netboot, const Interruption& interruption)
      : command_(command),
        netboot_(netboot),
        interruption_(interruption),
        caller_(command.store_directory(), caller_options(interruption)) {}

  // `lab`: null if others serve.
  void run(NetbootLab* lab) {
    // What was written before may be older than the first event that is waited for.
    for (json place = newest(); !interruption_.has_come(); place = newest()) {
      write(lab);
      wait_for_change(place, lab);
    }
  }

 private:
  static StoreCaller::Options caller_options(const Interruption& interruption) {
    StoreCaller::Options options;
    options.server_only = "the store has no server";
    options.patience = std::chrono::milliseconds(0);
    options.is_pointless = [&interruption] { return interruption.has_come(); };
    return options;
  }

  // Where the events are now; null if the store has no server, who alone knows of any.
  json newest() {
    try {
      const json told = caller_.call("changes", json::object());
      return {{"log", told.at("log")}, {"after", told.at("newest")}};
    } catch (const Error&) {
      return nullptr;
    }
  }

  void write(NetbootLab* lab) {
    attempt([&] {
      const json result = netboot_.write();
      if (lab != nullptr && !result["written"].empty()) lab->update_targets();
      complained_.clear();
      if (result["written"].empty() && result["removed"].empty()) return;
      if (command_.as_json)
        std::cout << result.dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
      else
        print_changes(result);
      std::cout.flush();
    });
  }

  // What fails now may succeed later: the server is being restarted, the disk is full.
  template <typename Fn>
  void attempt(Fn&& fn) {
    try {
      fn();
    } catch (const Error& error) {
      if (interruption_.has_come() || complained_ == error.what()) return;
      complained_ = error.what();
      std::cerr << "plydisk: " << printable(std::string_view(complained_)) << "\n";
    }
  }

  void wait_for_change(json place, NetbootLab* lab) {
    constexpr unsigned wait_ms = 1000;
    constexpr unsigned rounds_without_news = 5;
    for (unsigned round = 0; !interruption_.has_come(); ++round) {
      if (lab != nullptr) lab->check();
      attempt([&] { netboot_.remove_unused(); });
      const bool can_know = !place.is_null() && complained_.empty();
      if (!can_know && round == rounds_without_news) return;
      if (!can_know)
        pause(wait_ms);
      else if (has_news(place, wait_ms))
        return pause(wait_ms / 2);  // one change seldom comes alone
    }
  }

  // Waits that long for some. Layers are of no interest here.
  bool has_news(json& place, unsigned wait_ms) {
    try {
      json request = place;
      request["wait"] = wait_ms;
      const json answer = caller_.call("events", request);
      if (answer.at("lost").get<bool>()) return true;
      for (const json& event : answer.at("events")) {
        if (event.at("topic") != "layers") return true;
        place["after"] = event.at("number");
      }
      return false;
    } catch (const Error&) {
      // There is a new server, or none.
      return true;
    }
  }

  // Ends at a signal.
  static void pause(unsigned ms) { ::poll(nullptr, 0, static_cast<int>(ms)); }

  const Command& command_;
  Netboot& netboot_;
  const Interruption& interruption_;
  StoreCaller caller_;
  std::string complained_;  // of the last run
};

NetbootOptions checked(const NetbootVerbOptions& given) {
  NetbootOptions options;
  options.directory = absolute_path(given.directory);
  options.timeout = given.timeout;
  options.grace = std::chrono::seconds(given.grace);
  options.mount = given.iscsi && given.mount_option->count() == 0
                      ? std::filesystem::path(options.directory) / "mount"
                      : std::filesystem::path(absolute_path(given.mount));
  if (!given.web.empty()) options.web = parse_web_server(given.web);
  if (options.web && !given.serve.empty() && !options.web->path.empty())
    throw Error(EINVAL, "--serve serves the folder itself, so --http has no path with it");
  options.address.server = given.server;
  options.address.interface = given.serve;
  if (!given.range.empty()) options.address.range = parse_dhcp_range(given.range);
  if (!given.proxy.empty()) options.address.proxy = parse_ipv4_network(given.proxy);
  return options;
}

void make_iso(const NetbootVerbOptions& given, const std::string& host,
              const Interruption& interruption) {
  OutputFile out(given.iso, given.force);
  make_netboot_disc(host, out.unfinished(), [&] { interruption.check(); });
  // It has no secrets, unlike other files that are made so.
  std::filesystem::permissions(out.unfinished(), std::filesystem::perms{0644});
  out.finish();
}

int netboot(const Command& command, const NetbootVerbOptions& given) {
  const Interruption interruption("interrupted: no disc image was made");
  if (!given.serve.empty()) require_lab(given.iscsi, !given.web.empty());
  const NetbootOptions options = checked(given);
  Netboot netboot(command, options, interruption);
  if (!given.iso.empty()) {
    require_netboot_disc_tools();
    require_disc_host(netboot.address().host);
  }
  json result = netboot.write();
  result["iso"] = null_if_empty(given.iso);
  if (!given.iso.empty()) make_iso(given, netboot.address().host, interruption);
  const bool goes_on = given.follow || !given.serve.empty();
  if (command.as_json && goes_on)
    std::cout << result.dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
  else
    command.show(result, print_netboot);
  std::cout.flush();
  if (!goes_on) return 0;
  std::unique_ptr<NetbootLab> lab;
  if (!given.serve.empty()) {
    NetbootLabOptions served{command.store_directory(), netboot.dnsmasq_conf()};
    served.serves_store = !command.call("status", json::object())["serving"].get<bool>();
    served.port = netboot.address().port;
    served.web = options.web;
    served.web_root = std::filesystem::path(options.directory) / "tftp";
    if (given.iscsi) served.iscsi = {netboot.tgt_conf(), options.mount, netboot.address().host};
    lab = std::make_unique<NetbootLab>(served, interruption);
    std::cerr << "plydisk: stations can boot; Ctrl-C ends this\n";
  }
  NetbootFollower(command, netboot, interruption).run(lab.get());
  return 0;
}

}  // namespace

void add_netboot_verb(CLI::App& app, Command& command) {
  auto options = std::make_shared<NetbootVerbOptions>();
  CLI::App* verb =
      add_verb(app, "netboot", "Write what a boot server needs, for stations without disks",
               "  plydisk netboot /srv/netboot\n"
               "  plydisk netboot /srv/netboot --dhcp-range 192.168.1.100,192.168.1.200 --follow\n"
               "  plydisk netboot /srv/netboot --iso /tmp/boot.iso\n"
               "  plydisk netboot /tmp/lab --serve eth1\n\n"
               "The folder's dnsmasq.conf is for dnsmasq --conf-file=…, its tgt.conf for tgt-admin "
               "--conf …; its tftp/ can be served by HTTP, too, which is faster.");
  verb->add_option("DIR", options->directory, "The folder: a new one, or an earlier one")
      ->required();
  verb->add_option("--server", options->server,
                   "How stations reach the store's NBD server; by default, by this machine's "
                   "address, if it has one in their network")
      ->type_name("ADDRESS[:PORT]");
  CLI::Option* range =
      verb->add_option("--dhcp-range", options->range, "Give stations addresses from this range")
          ->type_name("FROM,TO[,NETMASK]");
  verb->add_option("--dhcp-proxy", options->proxy,
                   "Leave addresses to another DHCP server in this network; the default, for the "
                   "network that the server is in")
      ->type_name("SUBNET")
      ->excludes(range);
  verb->add_option("--timeout", options->timeout, "How long the menu of images waits; 0: for ever")
      ->type_name("SECONDS")
      ->check(CLI::Range(0U, 86400U))
      ->capture_default_str();
  verb->add_option("--grace", options->grace,
                   "How long files of a version stay that no script names any more")
      ->type_name("SECONDS")
      ->check(CLI::Range(0U, 31'536'000U))
      ->capture_default_str();
  verb->add_option(
          "--http", options->web,
          "Let stations load from this web server, which has DIR/tftp, instead of by TFTP; "
          "with --serve, serve it there")
      ->type_name("URL");
  options->mount_option =
      verb->add_option("--mount", options->mount,
                       "Where plydiskfs is mounted, whose files tgt serves by iSCSI")
          ->type_name("DIR")
          ->capture_default_str();
  CLI::Option* iso =
      verb->add_option("--iso", options->iso,
                       "Make a disc image as well, which boots from the server by BIOS and UEFI")
          ->type_name("FILE");
  verb->add_flag("--force", options->force, "Replace that file")->needs(iso);
  verb->add_flag("-f,--follow", options->follow, "Stay, and do it again after each change");
  CLI::Option* serve =
      verb->add_option("--serve", options->serve,
                       "Stay, and serve the stations at this interface: run dnsmasq, and nbdkit if "
                       "the store has no server")
          ->type_name("INTERFACE");
  verb->add_flag("--iscsi", options->iscsi, "Serve by iSCSI, too: run tgtd, and mount plydiskfs")
      ->needs(serve);
  verb->callback([&command, options] {
    command.run = [&command, options] { return netboot(command, *options); };
  });
}

}  // namespace plydisk
