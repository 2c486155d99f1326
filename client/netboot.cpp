#include "netboot.hpp"

#include <fcntl.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/program.hpp"
#include "disk_reader.hpp"
#include "interruption.hpp"
#include "netboot/grub_scripts.hpp"
#include "netboot/scripts.hpp"
#include "netboot/tgt.hpp"

namespace plydisk {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* dnsmasq_conf_name = "dnsmasq.conf";
constexpr const char* tgt_conf_name = "tgt.conf";
constexpr std::array programs{ipxe_bios, ipxe_efi, ipxe_efi_drivers};

void require_programs() {
  std::vector<Requirement> needed;
  for (const char* name : programs)
    needed.push_back({std::string(ipxe_folder) + "/" + name, "ipxe"});
  require_installed(needed, "to boot stations over the network");
}

std::string text_or_empty(const json& text) {
  return text.is_null() ? "" : text.get<std::string>();
}

// What it was made of, up to the state of the files.
std::string source_of(const std::string& uuid, const std::string& kernel) {
  return uuid + " " + kernel + " ";
}

// Whether the disk has no kernel to boot, whoever reads it.
bool is_unfit(const Error& error) { return error.code() == ENOEXEC || error.code() == E2BIG; }

}  // namespace

Netboot::Netboot(const Command& command, const NetbootOptions& options,
                 const Interruption& interruption)
    : command_(command),
      options_(options),
      interruption_(interruption),
      address_(find_boot_address(options.address)) {
  require_programs();
  require_tgt_path(options_.mount);
}

fs::path Netboot::dnsmasq_conf() const { return fs::path(options_.directory) / dnsmasq_conf_name; }

fs::path Netboot::tgt_conf() const { return fs::path(options_.directory) / tgt_conf_name; }

Netboot::Records Netboot::read_records() {
  const json none = json::object();
  return {caller_->call("image.list", none), caller_->call("station.list", none),
          caller_->call("session.list", none),
          caller_->call("param.get", {{"name", "boot-identity"}}).at("value")};
}

// What the server gives it: a version that it writes or tests, or the one that its own writes lie
// on. One that is being written has the kernel of the version that it was made on.
unsigned Netboot::next_version(const Records& records, const json& image,
                               const std::string& station) const {
  for (const json& version : image.at("versions")) {
    if (version.at("station") == station)
      return version.at("base").is_null() ? image.at("published").get<unsigned>()
                                          : version.at("base").get<unsigned>();
    for (const json& tester : version.at("testers"))
      if (tester == station) return version.at("number");
  }
  for (const json& session : records.sessions)
    if (session.at("image") == image.at("name") && session.at("station") == station &&
        session.at("stale").get<bool>())
      return session.at("version");
  return image.at("published");
}

NetbootPlan Netboot::plan_of(const Records& records) const {
  NetbootPlan plan;
  plan.server = address_.server;
  plan.host = address_.host;
  if (options_.web) plan.web = options_.web->url();
  plan.identity = records.identity;
  plan.timeout = options_.timeout;
  for (const json& image : records.images)
    plan.images.push_back({image.at("name"), text_or_empty(image.at("description")),
                           image.at("published").get<unsigned>()});
  for (const json& record : records.stations) {
    NetbootStation station{record.at("name"), text_or_empty(record.at("image"))};
    const auto image = std::ranges::find_if(
        records.images, [&](const json& it) { return it.at("name") == station.image; });
    if (image == records.images.end()) station.image.clear();
    station.allow = record.at("allow").get<std::vector<std::string>>();
    station.has_secret = record.at("has_secret");
    if (!station.image.empty()) {
      station.version = next_version(records, *image, station.name);
      station.is_published = station.version == image->at("published").get<unsigned>();
    }
    plan.stations.push_back(station);
  }
  return plan;
}

void Netboot::copy_files(const VersionName& name, const DiskReader& disk, const BootFiles& files,
                         const fs::path& folder) {
  ProgressBar bar;
  bar.begin(name.first + ":" + std::to_string(name.second));
  std::uint64_t done = 0;
  for (const auto& [file, target] :
       {std::pair{files.kernel, netboot_kernel_name}, {files.initrd, netboot_initrd_name}}) {
    const File out = File::open(folder / target, O_WRONLY | O_CREAT | O_TRUNC);
    std::uint64_t place = 0;
    read_boot_file(disk, files, file, [&](const void* data, std::size_t length) {
      if (interruption_.has_come())
        throw Error(EINTR, "interrupted; stations boot what they did before");
      out.write(data, length, place);
      place += length;
      bar.show(done += length, files.bytes());
    });
  }
}

// A disk that can't be read at this moment is no reason to take from stations what they can boot.
Netboot::Version Netboot::keep_version(const VersionName& name, const std::string& uuid,
                                       const std::string& why) {
  const std::string source = folder_->version_source(name.first, name.second);
  if (!source.starts_with(uuid + " ")) return {std::nullopt, {}, why};
  const auto begin = uuid.size() + 1;
  const fs::path script =
      fs::path("tftp/images") / name.first / std::to_string(name.second) / "boot.ipxe";
  if (!fs::exists(folder_->path() / script)) return {std::nullopt, {}, why};
  return {source.substr(begin, source.find(' ', begin) - begin), {}, why};
}

Netboot::Version Netboot::put_version(const NetbootPlan& plan, const json& image, unsigned number) {
  const VersionName name{image.at("name"), number};
  const std::string uuid = image.at("uuid");
  try {
    const auto disk = caller_->open_disk({{"image", name.first}, {"version", number}});
    const DiskReader reader = reader_of(*disk);
    const BootFiles files = find_boot_files(reader);
    const std::string source = source_of(uuid, files.version) + files.state();
    if (folder_->version_source(name.first, number) != source)
      folder_->put_version(name.first, number, source, [&](const fs::path& folder) {
        copy_files(name, reader, files, folder);
      });
    const fs::path folder = fs::path("tftp/images") / name.first / std::to_string(number);
    folder_->put_text(folder / "boot.ipxe",
                      version_script(plan, name.first, number, files.arguments));
    folder_->put_text(folder / "boot.cfg",
                      grub_version_script(plan, name.first, number, files.arguments));
    return {files.version, files.arguments, files.doubt};
  } catch (const Error& error) {
    if (is_disk_full(error.code()) || error.code() == EINTR) throw;
    if (is_unfit(error)) return {std::nullopt, {}, error.what()};
    return keep_version(name, uuid, error.what());
  }
}

void Netboot::put_configuration(const NetbootPlan& plan) {
  DnsmasqOptions conf;
  conf.tftp_root = folder_->tftp();
  conf.hosts = folder_->path() / "dhcp-hosts";
  conf.leases = folder_->path() / "dhcp-leases";
  conf.interface = address_.interface;
  conf.range = options_.address.range;
  conf.proxy = address_.network;
  folder_->offer_text("dhcp-hosts",
                      "# Stations that get their names by DHCP, a line each, such as\n"
                      "# 52:54:00:12:34:56,pc07\n");
  folder_->put_text(dnsmasq_conf_name, plydisk::dnsmasq_conf(conf));
  folder_->put_text(tgt_conf_name, plydisk::tgt_conf(plan, options_.mount));
  for (const char* program : programs)
    folder_->put_copy(fs::path("tftp") / program, fs::path(ipxe_folder) / program);
}

// What a script names is there before it.
void Netboot::put_scripts(NetbootPlan& plan, const std::map<VersionName, Version>& versions) {
  const auto has_kernel = [&](const std::string& image, unsigned version) {
    const auto found = versions.find({image, version});
    return found != versions.end() && found->second.kernel.has_value();
  };
  for (NetbootImage& image : plan.images) {
    image.has_kernel = has_kernel(image.name, image.version);
    if (!image.has_kernel) continue;
    const fs::path folder = fs::path("tftp/images") / image.name;
    folder_->put_text(folder / "boot.ipxe", image_script(image));
    folder_->put_text(folder / "boot.cfg", grub_image_script(image));
  }
  for (NetbootStation& station : plan.stations) {
    station.has_kernel = has_kernel(station.image, station.version);
    const fs::path folder = "tftp/stations";
    folder_->put_text(folder / (station.name + ".ipxe"), station_script(plan, station));
    folder_->put_text(folder / (station.name + ".cfg"), grub_station_script(station));
  }
  folder_->put_text(fs::path("tftp") / menu_script_name, menu_script(plan));
  folder_->put_text(fs::path("tftp") / first_script, entry_script(plan));
  folder_->put_text(fs::path("tftp") / first_grub_script, grub_menu_script(plan));
}

json Netboot::write() {
  StoreCaller::Options caller_options;
  caller_options.is_pointless = [this] { return interruption_.has_come(); };
  caller_.emplace(command_.store_directory(), caller_options);
  const Records records = read_records();
  NetbootPlan plan = plan_of(records);
  // Kept from the first run on, so that nobody else works in it.
  if (!folder_) folder_.emplace(options_.directory);
  std::set<VersionName> used;
  for (const NetbootImage& image : plan.images) used.insert({image.name, image.version});
  for (const NetbootStation& station : plan.stations)
    if (!station.image.empty()) used.insert({station.image, station.version});
  std::map<VersionName, Version> versions;
  for (const VersionName& name : used) {
    const auto image = std::ranges::find_if(
        records.images, [&](const json& it) { return it.at("name") == name.first; });
    versions[name] = put_version(plan, *image, name.second);
  }
  put_scripts(plan, versions);
  put_configuration(plan);
  std::erase_if(used, [&](const VersionName& name) { return !versions[name].kernel; });
  folder_->finish(used);
  caller_.reset();

  json images = json::array(), stations = json::array();
  for (const auto& [name, version] : versions)
    images.push_back({{"name", name.first},
                      {"version", name.second},
                      {"kernel", version.kernel ? json(*version.kernel) : json(nullptr)},
                      {"arguments", null_if_empty(version.arguments)},
                      {"remark", null_if_empty(version.remark)}});
  for (const NetbootStation& station : plan.stations)
    stations.push_back(
        {{"name", station.name},
         {"image", null_if_empty(station.image)},
         {"version", station.image.empty() ? json(nullptr) : json(station.version)}});
  remove_unused();
  const NetbootFolder::Changes changes = folder_->take_changes();
  return {{"directory", options_.directory},
          {"server", address_.server},
          {"identity", plan.identity},
          {"images", images},
          {"stations", stations},
          {"written", changes.written},
          {"removed", changes.removed}};
}

void Netboot::remove_unused() { folder_->remove_unused(options_.grace); }

}  // namespace plydisk
