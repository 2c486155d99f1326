// What stations boot over the network, from the store's records into a folder for a boot server.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "boot_address.hpp"
#include "command.hpp"
#include "control/store_caller.hpp"
#include "netboot/boot_files.hpp"
#include "netboot/folder.hpp"
#include "netboot/plan.hpp"
#include "netboot/web_server.hpp"
#include "output.hpp"

namespace plydisk {

struct NetbootOptions {
  std::string directory;
  BootAddressOptions address;
  std::optional<WebServer> web;     // that serves the folder's tftp/
  unsigned timeout = 10;            // seconds
  std::chrono::seconds grace{600};  // that versions stay of which no script knows any more
  std::filesystem::path mount;      // of plydiskfs, absolute
};

// Thread safety: one thread.
class Netboot {
 public:
  // `interruption`: what ends its work, with Error(EINTR). Throws Error, and changes nothing, for
  // options that can't be.
  Netboot(const Command& command, const NetbootOptions& options, const Interruption& interruption);

  const BootAddress& address() const noexcept { return address_; }
  std::filesystem::path dnsmasq_conf() const;
  std::filesystem::path tgt_conf() const;
  // Writes what has changed since the last time, or all of it. Returns {directory, server,
  // identity, images: [{name, version, kernel, arguments, remark}], stations: [{name, image,
  // version}], written, removed}; `kernel` is null where none can be loaded, and `remark` says why.
  nlohmann::json write();
  // Removes what no script has named for long enough.
  void remove_unused();

 private:
  // Of an image: its number.
  using VersionName = std::pair<std::string, unsigned>;
  struct Version {
    std::optional<std::string> kernel;  // its version
    std::string arguments, remark;
  };
  // The records of one moment.
  struct Records {
    nlohmann::json images, stations, sessions;
    std::string identity;
  };

  Records read_records();
  NetbootPlan plan_of(const Records& records) const;
  unsigned next_version(const Records& records, const nlohmann::json& image,
                        const std::string& station) const;
  Version put_version(const NetbootPlan& plan, const nlohmann::json& image, unsigned number);
  Version keep_version(const VersionName& name, const std::string& uuid, const std::string& why);
  void copy_files(const VersionName& name, const DiskReader& disk, const BootFiles& files,
                  const std::filesystem::path& folder);
  void put_configuration(const NetbootPlan& plan);
  void put_scripts(NetbootPlan& plan, const std::map<VersionName, Version>& versions);

  const Command& command_;
  const NetbootOptions options_;
  const Interruption& interruption_;
  const BootAddress address_;
  std::optional<NetbootFolder> folder_;
  std::optional<StoreCaller> caller_;  // during a run
};

}  // namespace plydisk
