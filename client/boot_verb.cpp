// boot: in an initramfs, the disk that the kernel's command line names.
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "attach.hpp"
#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "boot/arguments.hpp"
#include "boot/identity.hpp"
#include "boot_disc.hpp"
#include "command.hpp"
#include "control/text_export.hpp"
#include "output.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds default_patience{120};
constexpr std::chrono::seconds between_tries{1}, between_reminders{15};
constexpr const char* device = "/dev/nbd0";
constexpr unsigned device_index = 0;
const std::filesystem::path credentials = "/etc/plydisk/boot";

void say(const std::string& sentence) {
  // The console of a machine that may stand still next.
  std::cout << "plydisk: " << printable(std::string_view(sentence)) << "\n" << std::flush;
}

std::string uri_of(const BootArguments& arguments) {
  if (arguments.uri != "dhcp") return arguments.uri;
  const std::string root_path = find_lease("/", "").root_path;
  if (is_nbd_uri(root_path)) return root_path;
  throw Error(ENODATA, "the kernel's command line says plydisk=dhcp, and DHCP's root-path is " +
                           (root_path.empty() ? "not there" : quote(root_path)) +
                           ": let the DHCP server give one such as nbd://192.0.2.2/debian");
}

// The server is asked only if nothing else tells.
std::string station_of(const BootArguments& arguments, const std::string& uri) {
  if (!arguments.station.empty()) return arguments.station;
  const std::string name = export_of(uri);
  if (const auto at = name.find('@'); at != name.npos) return name.substr(at + 1);
  if (const auto target = find_firmware_target("/")) return target->station;
  const auto identity =
      arguments.identity.empty() ? ask_boot_identity(uri) : parse_boot_identity(arguments.identity);
  return station_name(identity.value_or(BootIdentity::host_name),
                      find_machine("/", arguments.boot_mac));
}

// By a URI, or a file. What this process leaves running has the name that this was called by.
void attach_to_device(const BootArguments& arguments, AttachOptions options) {
  options.device = device_index;
  options.writes = arguments.writes;
  try {
    attach(options, [](const AttachedDisk&) {});
  } catch (const Error& error) {
    throw Error(EAGAIN, error.what());
  }
}

// What the image brings along for its stations' connections.
void add_credentials(AttachOptions& options) {
  const std::pair<std::string*, const char*> files[] = {{&options.secret_file, "secret"},
                                                        {&options.tls.psk, "keys.psk"},
                                                        {&options.tls.certificates, "pki"}};
  for (const auto& [option, file] : files)
    if (std::filesystem::exists(credentials / file)) *option = credentials / file;
}

json attach_disc(const BootArguments& arguments) {
  const MountedDisc disc = mount_disc(*arguments.disc);
  try {
    if (arguments.checks_disc) check_disc(disc);
    const std::string station = arguments.station.empty() ? "disc" : arguments.station;
    attach_to_device(arguments, {.uri = disc.disk, .station = station});
    return {{"device", device},
            {"uri", disc.disk.string()},
            {"station", station},
            {"disc", disc.label},
            {"medium", disc.medium.string()}};
  } catch (...) {
    unmount_disc("/");
    throw;
  }
}

// Once. Throws Error if it does not work now.
json attach_once(const BootArguments& arguments) {
  if (arguments.disc) return attach_disc(arguments);
  const std::string uri = uri_of(arguments), station = station_of(arguments, uri);
  AttachOptions options{.uri = uri, .station = station};
  options.multicast = arguments.multicast;
  add_credentials(options);
  attach_to_device(arguments, options);
  return {{"device", device}, {"uri", uri}, {"station", station}};
}

json attach_patiently(const BootArguments& arguments) {
  const auto begin = Clock::now();
  const std::chrono::seconds patience = arguments.patience.value_or(default_patience);
  std::string last;
  auto said = begin;
  while (true) {
    try {
      return attach_once(arguments);
    } catch (const Error& error) {
      if (error.code() == EUCLEAN) throw;  // a damaged disc
      const auto now = Clock::now();
      const auto waited = std::chrono::duration_cast<std::chrono::seconds>(now - begin);
      if (now - begin >= patience)
        throw Error(error.code(), "no disk after " + std::to_string(waited.count()) +
                                      " seconds: " + error.what());
      // At once what is new, and now and then that it goes on.
      if (last != error.what() || now - said >= between_reminders) {
        say("no disk yet (" + std::to_string(waited.count()) + " of " +
            std::to_string(patience.count()) + " seconds): " + error.what());
        said = now;
      }
      last = error.what();
    }
    std::this_thread::sleep_for(between_tries);
  }
}

int boot(const Command& command, const std::string& line) {
  const auto arguments = parse_boot_arguments(line);
  if (!arguments)
    throw Error(ENODATA,
                "the kernel's command line names no disk: add plydisk=nbd://SERVER/IMAGE to it");
  return command.show(attach_patiently(*arguments), [](const json& disk) {
    const auto text = [&](const char* field) { return disk[field].get<std::string>(); };
    say(text("device") + " is " +
        (disk.contains("disc") ? "the disc " + text("disc") + " in " + text("medium")
                               : text("uri") + " of station " + text("station")));
  });
}

}  // namespace

void add_boot_verb(CLI::App& app, Command& command) {
  auto line = std::make_shared<std::string>();
  CLI::App* verb = add_verb(
      app, "boot", "In an initramfs: attach the disk that the kernel's command line names",
      "  plydisk boot     (plydisk=nbd://server/debian on the command line, or plydisk=disc)");
  verb->add_option("--command-line", *line, "Instead of the kernel's")->type_name("TEXT");
  verb->callback([&command, line] {
    command.run = [&command, line] {
      return boot(command, line->empty() ? read_text_file("/proc/cmdline") : *line);
    };
  });
}

}  // namespace plydisk
