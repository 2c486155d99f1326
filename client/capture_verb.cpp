// `plydisk capture`: a disk into an image of the store, or into an NBD export.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "capture/adapt.hpp"
#include "capture/capture.hpp"
#include "capture_folder.hpp"
#include "command.hpp"
#include "control/text_export.hpp"
#include "interruption.hpp"
#include "output.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct CaptureVerbOptions {
  std::string source, image, to, description, writes, server;
  std::vector<std::string> exclude;
  bool force = false, restart = false, no_verify = false, adapt = false;
};

// Where it is noted how far a capture is that goes to an export: this machine may have no store.
fs::path state_folder(const CaptureVerbOptions& options) {
  const char* const state = std::getenv("XDG_STATE_HOME");
  const char* const home = std::getenv("HOME");
  fs::path folder = state != nullptr && *state == '/' ? fs::path(state)
                    : home != nullptr && *home == '/' ? fs::path(home) / ".local/state"
                                                      : fs::path("/var/lib");
  folder /= "plydisk-captures";
  fs::create_directories(folder.parent_path());
  // A name for what goes where.
  std::string name = options.source + " to " + without_token(options.to);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
  constexpr std::size_t longest = 100;
  if (name.size() > longest) name = name.substr(name.size() - longest);
  return folder / name;
}

// Beside this program as it is built, or installed.
fs::path scripts_folder() {
  std::error_code error;
  const auto built = fs::read_symlink("/proc/self/exe", error).parent_path() / "initramfs";
  return !error && fs::exists(built / "adapt-root") ? built : fs::path(PLYDISK_SHARE "/initramfs");
}

// This machine's address towards others; nothing is sent.
std::string own_address() {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9);
  ::inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);  // of no machine
  socklen_t length = sizeof(address);
  std::array<char, INET_ADDRSTRLEN> text{};
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size()) == nullptr)
    throw Error(ENETUNREACH,
                "--adapt: this machine has no address that stations can reach: name the server "
                "with --server");
  return text.data();
}

std::string station_uri(const CaptureVerbOptions& options) {
  return "nbd://" + (options.server.empty() ? own_address() : options.server) + "/" + options.image;
}

json partitions_json(const CapturePlan& plan) {
  json list = json::array();
  for (const PlannedPartition& partition : plan.partitions)
    list.push_back({{"number", partition.number},
                    {"begin", partition.range.begin},
                    {"size", partition.range.length()},
                    {"type", null_if_empty(partition.type)},
                    {"method", partition.method},
                    {"used", partition.used}});
  return list;
}

void print_capture(const json& result) {
  Table table({{"PARTITION", Table::Align::right},
               {"TYPE"},
               {"SIZE", Table::Align::right},
               {"USED", Table::Align::right},
               {"FOUND BY"}});
  for (const json& partition : result["partitions"])
    table.add({partition["number"] == 0 ? "disk" : printable(partition["number"]),
               printable(partition["type"]), size_text(partition["size"]),
               size_text(partition["used"]), printable(partition["method"])});
  std::cout << table.text() << "captured " << size_text(result["copied"]) << " of "
            << size_text(result["size"]) << " in "
            << format_duration(static_cast<std::uint64_t>(result["seconds"].get<double>() + 0.5))
            << (result["verified"].get<bool>() ? ", verified" : ", not verified") << "; "
            << (result["image"].is_null() ? "it is in " + printable(result["to"])
                                          : "made the image " + printable(result["image"]))
            << "\n";
}

// The parameters of image.adopt.
json image_params(const CaptureVerbOptions& options) {
  json params{{"name", options.image}};
  if (!options.description.empty()) params["description"] = options.description;
  if (!options.writes.empty()) params["writes"] = options.writes;
  return params;
}

// What a plydisk server would drop when the capture has ended is not to be called captured.
void require_kept(const std::string& uri) {
  const auto disk = ask_where_writes_go(uri);
  if (disk && !disk->is_kept)
    throw Error(EINVAL, "what is written to " + without_token(uri) + " goes to " + disk->writes +
                            ", and is dropped when its session ends: at its server, give its "
                            "station writes that are kept, such as direct, with \"plydisk station "
                            "set\"; --force captures it all the same");
}

int capture(const Command& command, const CaptureVerbOptions& options) {
  const auto began = std::chrono::steady_clock::now();
  const bool is_export = !options.to.empty();
  if (is_export && !is_nbd_uri(options.to))
    throw UsageError("--to needs an NBD URI such as nbd://server/disk, not " + quote(options.to));
  if (is_export && !options.force) require_kept(options.to);
  const CaptureFolder folder(is_export ? state_folder(options)
                                       : image_folder(command, image_params(options)));
  CaptureOptions work;
  work.source = is_nbd_uri(options.source) ? options.source : absolute_path(options.source);
  work.to = options.to;
  work.folder = folder.path();
  work.exclude = options.exclude;
  work.force = options.force;
  work.verifies = !options.no_verify;
  work.restarts = options.restart;
  ProgressBar bar;
  work.note = [&bar](const std::string& sentence) {
    bar.wipe();
    std::cerr << "plydisk: " << printable(std::string_view(sentence)) << "\n";
  };
  std::optional<Adaptation> adaptation;
  if (options.adapt)
    work.check = [&, uri = station_uri(options)](const CaptureSource& source,
                                                 const CapturePlan& plan) {
      adaptation.emplace(source, plan, uri, scripts_folder());
    };
  CaptureResult result;
  try {
    const Interruption interruption("interrupted: give the same command again" +
                                    std::string(options.restart ? ", without --restart," : ",") +
                                    " and the capture goes on where it was");
    work.begin = [&](const std::string& part) {
      interruption.check();
      bar.begin(part);
    };
    work.progress = [&](std::uint64_t done, std::uint64_t total) {
      interruption.check();
      bar.show(done, total);
    };
    result = capture_disk(work);
  } catch (...) {
    // Nothing was copied.
    std::error_code ignored;
    fs::remove(folder.path(), ignored);
    if (is_export) fs::remove(folder.path().parent_path(), ignored);
    throw;
  }
  if (adaptation) {
    bar.begin("making it bootable over the network");
    forget_progress(folder.path());
    adaptation->run(folder.path() / "disk");
  }
  bar.wipe();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began;
  if (!is_export) command.call("image.adopt", image_params(options));
  folder.remove();
  std::error_code has_others;
  if (is_export) fs::remove(folder.path().parent_path(), has_others);
  return command.show({{"source", result.source},
                       {"size", result.size},
                       {"copied", result.plan.used.bytes()},
                       {"continued_at", result.continued_at},
                       {"table", null_if_empty(result.plan.table)},
                       {"partitions", partitions_json(result.plan)},
                       {"seconds", elapsed.count()},
                       {"verified", work.verifies},
                       {"adapted", options.adapt ? json(station_uri(options)) : json(nullptr)},
                       {"image", is_export ? json(nullptr) : json(options.image)},
                       {"to", is_export ? json(without_token(options.to)) : json(nullptr)}},
                      print_capture);
}

}  // namespace

void add_capture_verb(CLI::App& app, Command& command) {
  auto options = std::make_shared<CaptureVerbOptions>();
  CLI::App* verb = add_verb(
      app, "capture", "Make an image of a disk, bit for bit, of its used blocks alone",
      "  plydisk capture /dev/sdb --image debian\n"
      "  plydisk capture /tmp/windows.img --image windows --description \"Room 4\"\n"
      "  plydisk capture /dev/vg/snapshot --image data --exclude '/var/cache/*' --exclude "
      "swapfile\n"
      "  plydisk capture /dev/sda --to nbd://server/debian@pc07\n\n"
      "A capture that was interrupted goes on where it was when the same command is given again.");
  verb->add_option("SOURCE", options->source,
                   "The disk or partition: a device, a file or an NBD URI")
      ->required();
  CLI::Option_group* goes_to =
      verb->add_option_group("destination", "Where it goes: exactly one of");
  CLI::Option* image =
      goes_to->add_option("--image", options->image, "A new image of the store")->type_name("NAME");
  goes_to->add_option("--to", options->to, "An export of an NBD server, which is overwritten")
      ->type_name("URI");
  goes_to->require_option(1);
  verb->add_option("--exclude", options->exclude,
                   "Leave out the data of files with such a path or name, on ext4; may be repeated")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  verb->add_flag("--force", options->force,
                 "Also what is mounted or was not shut down cleanly; copies all of that");
  verb->add_flag("--restart", options->restart,
                 "Begin anew instead of going on with what was interrupted");
  CLI::Option* adapt = verb->add_flag("--adapt", options->adapt,
                                      "Make the Linux system on the copy boot over the network")
                           ->needs(image);
  verb->add_option("--server", options->server,
                   "The server that an adapted system boots from; by default, this machine")
      ->type_name("HOST[:PORT]")
      ->needs(adapt);
  verb->add_flag("--no-verify", options->no_verify, "Don't compare the copy with the source");
  verb->add_option("--description", options->description, "What the image is for")
      ->type_name("TEXT")
      ->needs(image);
  verb->add_option("--writes", options->writes,
                   "Where the writes of its stations go that have no destination of their own")
      ->type_name("DEST")
      ->needs(image);
  verb->callback([&command, options] {
    command.run = [&command, options] { return capture(command, *options); };
  });
}

}  // namespace plydisk
