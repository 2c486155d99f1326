// attach, detach, and what `status` shows of attached disks.
#include <iostream>
#include <memory>

#include "attach.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "control/client.hpp"
#include "nbd_device.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

json disk_json(const AttachedDisk& disk) {
  json result{{"name", disk.name},
              {"device", disk.device ? json(NbdDevice(*disk.device).path()) : json(nullptr)},
              {"socket", disk.socket.string()},
              {"uri", disk.uri},
              {"image", disk.image},
              {"station", disk.station},
              {"store", disk.store.string()},
              {"read_only", disk.read_only},
              {"supervisor", nullptr},
              {"state", "unsupervised"},
              {"trouble", nullptr},
              {"writes", nullptr},
              {"plan", disk.writes},
              {"persistence", nullptr},
              {"multicast", nullptr},
              {"stats", nullptr}};
  if (const int supervisor = SupervisorLock::holder(disk); supervisor != 0) {
    result["supervisor"] = supervisor;
    result["state"] = "attached";
  }
  try {
    if (auto engine = ControlClient::connect(disk.store)) {
      const json session = engine->call("session.show", {{"session", disk.session()}});
      for (const char* field : {"trouble", "writes", "plan", "persistence", "multicast", "stats"})
        result[field] = session[field];
      if (!session["trouble"].is_null()) result["state"] = "waiting";  // for its server
    } else {
      result["state"] = "waiting";  // for its engine
      result["trouble"] = "the disk's engine is being started";
    }
  } catch (const Error&) {
    result["state"] = "waiting";
  }
  return result;
}

void print_disk(const json& disk) {
  Table fields({{}, {}});
  for (const char* field : {"device", "socket", "uri", "station", "state", "trouble", "writes",
                            "plan", "persistence", "store", "supervisor"})
    fields.add(
        {field, printable(disk[field].is_number() ? json(disk[field].dump()) : disk[field])});
  if (const json& stats = disk["stats"]; stats.is_object()) {
    fields.add({"read", size_text(stats["bytes_read"])});
    fields.add({"written", size_text(stats["bytes_written"])});
  }
  std::cout << fields.text();
}

void add_attach(CLI::App& app, Command& command) {
  auto options = std::make_shared<AttachOptions>();
  auto device = std::make_shared<std::string>();
  CLI::App* verb = add_verb(
      app, "attach", "Make a disk of this station from a server's export, or from a file",
      "  plydisk attach nbd://server/debian\n"
      "  plydisk attach nbd://server/debian /dev/nbd3 --writes client-ram:2G,client-volatile \\\n"
      "      --dir /var/cache/plydisk\n"
      "  plydisk attach nbd://server/debian --socket /run/debian.sock      (no kernel device)\n"
      "  plydisk attach /media/rescue.img                        (writes to memory, not to it)");
  verb->add_option("URI|PATH", options->uri,
                   "nbd://, nbds://, nbd+unix:// or nbds+unix://; or a raw file or block device of "
                   "this machine")
      ->required();
  verb->add_option("DEVICE", *device, "/dev/nbdX; else the first that is free");
  verb->add_option("--socket", options->socket,
                   "Serve the disk on this Unix socket, without a device")
      ->excludes("DEVICE");
  verb->add_option("--station", options->station, "The station's name; else the host's");
  verb->add_option("--secret-file", options->secret_file,
                   "A file with the secret that the server asks of this station")
      ->type_name("FILE");
  verb->add_option("--tls-certificates", options->tls.certificates,
                   "Use TLS: a folder with ca-cert.pem, and client-cert.pem and client-key.pem if "
                   "the server asks for them")
      ->type_name("DIR");
  verb->add_option("--tls-psk", options->tls.psk,
                   "Use TLS: a file with a pre-shared key, in lines USER:KEY")
      ->type_name("FILE")
      ->excludes("--tls-certificates");
  verb->add_option("--tls-user", options->tls.user, "Whose key; else the station's name")
      ->needs("--tls-psk");
  verb->add_option("--writes", options->writes,
                   "Where writes go, and where next when a place is full: DEST[:SIZE][,DEST…]; "
                   "else what the server says, or client-ram");
  verb->add_option("--dir", options->folder,
                   "A folder on a disk of this station, for client-volatile and "
                   "client-persistent");
  verb->add_option("--connections", options->connections, "How many to the server")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  verb->add_option("--patience", options->patience,
                   "Seconds that requests wait for a server that is away, before they fail; else "
                   "for ever");
  verb->add_flag("--read-only", options->read_only, "A disk that can't be written");
  verb->add_flag("--multicast", options->multicast,
                 "Hear by multicast what other stations read, if the server sends it, until "
                 "\"plydisk multicast leave\"");
  verb->add_flag("--discard", options->discard,
                 "Drop persistent layers in --dir that lie on another version of the image")
      ->excludes(verb->add_flag("--keep-version", options->keep_version,
                                "Use the version that persistent layers in --dir lie on"));
  verb->add_flag("--foreground", options->foreground, "Stay until the disk is detached");
  verb->callback([&command, options, device] {
    command.run = [&command, options, device] {
      if (!device->empty()) options->device = parse_nbd_index(*device);
      attach(*options, [&](const AttachedDisk& disk) {
        command.show(disk_json(disk), [&](const json&) {
          std::cout << printable(std::string_view(disk.title())) << "\n";
        });
        std::cout.flush();
      });
      return 0;
    };
  });
}

void add_detach(CLI::App& app, Command& command) {
  auto name = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(app, "detach", "Take an attached disk away",
                            "  plydisk detach /dev/nbd0\n"
                            "  plydisk detach /run/debian.sock");
  verb->add_option("DEVICE", *name, "/dev/nbdX, or the socket's path")->required();
  verb->add_flag("--force", *force, "Although it is in use, and without writing anything back");
  verb->callback([&command, name, force] {
    command.run = [&command, name, force] {
      const AttachedDisk disk = require_disk(*name);
      detach(disk, *force);
      return command.show({{"detached", disk.title()}}, [](const json& result) {
        std::cout << printable(result["detached"]) << " is detached\n";
      });
    };
  });
}

}  // namespace

void add_attach_verbs(CLI::App& app, Command& command) {
  add_attach(app, command);
  add_detach(app, command);
}

int show_disk(const Command& command, const std::string& name) {
  return command.show(disk_json(require_disk(name)), print_disk);
}

json disks_json() {
  json disks = json::array();
  for (const auto& disk : attached_disks()) disks.push_back(disk_json(disk));
  return disks;
}

void print_disks(const json& disks) {
  Table table({{"DISK"}, {"URI"}, {"STATION"}, {"STATE"}, {"WRITES"}, {"PERSISTENCE"}});
  for (const json& disk : disks)
    table.add({printable(disk["device"].is_null() ? disk["socket"] : disk["device"]),
               printable(disk["uri"]), printable(disk["station"]), printable(disk["state"]),
               printable(disk["writes"]), printable(disk["persistence"])});
  std::cout << table.text();
}

}  // namespace plydisk
