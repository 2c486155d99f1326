// A station's own store above a server's disk, for which a file stands in here.
#pragma once

#include <fcntl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "stack/disk.hpp"
#include "store/store.hpp"
#include "test_support.hpp"

namespace plydisk::test {

inline constexpr std::uint64_t block = 4096;  // bytes

// A server that does what it is told and takes notes.
class FakeServer : public Upstream {
 public:
  void require_may_choose(const WritePlan& plan) override {
    if (forbidden && plan.find(*forbidden) != nullptr)
      throw Error(EACCES, "the server does not allow it");
    if (is_away) throw Error(ESHUTDOWN, "the server is away");
  }
  void redirect(const Terms& terms, bool carry) override {
    if (refuses) throw Error(EACCES, "the server does not allow it");
    told.push_back(std::string(to_string(terms.writes)) +
                   (terms.above_volatile ? " above volatile" : "") + (carry ? " carry" : ""));
    state.writes = terms.writes;
    state.writer = terms.writer;
    state.survives = is_persistent(terms.writes) && !terms.above_volatile;
    if (carry && refuses_carry) throw Error(ENOSPC, "the server is full");
    // As if it were written to at once.
    if (is_persistent(terms.writes) && !is_at_client(terms.writes))
      state.foundation = {"", "s", terms.writer};
    is_away |= carry && is_away_after;
    if (carry && loses_answer) throw Error(ESHUTDOWN, "the answer was lost");
  }
  SessionState session_state() override {
    if (is_away) throw Error(ESHUTDOWN, "the server is away");
    return state;
  }
  void freeze(std::uint64_t, bool goes_on) override {
    told.push_back(goes_on ? "freeze, going on" : "freeze");
    if (goes_on && on_first_freeze) on_first_freeze();
  }
  void end_session() override { told.push_back("end"); }
  SessionState state{Destination::server_volatile, false, false, false, "", {}, ""};
  std::vector<std::string> told;
  bool refuses = false, is_away = false, loses_answer = false;
  bool is_away_after = false, refuses_carry = false;
  std::optional<Destination> forbidden;
  std::function<void()> on_first_freeze;
};

struct StationFixture {
  std::shared_ptr<FakeServer> server = std::make_shared<FakeServer>();
  TemporaryDirectory directory;
  std::unique_ptr<Store> store;
  std::vector<std::string> log;
  bool keeps_files = true;
  std::unique_ptr<Store::Connection> disk;

  StationFixture() {
    std::filesystem::create_directory(memory());
    const File file = File::open(server_file(), O_RDWR | O_CREAT);
    file.truncate(64 << 20);
    Store::init(path(), StoreRole::station);
    open("boot-1");
    Store::NewImage image;
    image.name = "img";
    image.from = server_file();
    image.link = true;
    server->state.image = store->create_image(image, {}).record.uuid;
  }
  std::filesystem::path path() const { return directory.path() / "store"; }
  std::filesystem::path memory() const { return directory.path() / "memory"; }
  std::string server_file() const { return (directory.path() / "server").string(); }

  void open(const std::string& boot) {
    disk.reset();
    store.reset();
    StoreOptions options;
    options.boot_id = boot;
    options.serve = true;
    options.memory = memory();
    options.keeps_files = keeps_files;
    options.upstream = server;
    options.log = [this](const std::string& line) { log.push_back(line); };
    store = Store::open(path(), options);
  }
  void set_writes(const std::string& plan) {
    if (!store->catalogue().find_station("pc")) {
      StationRecord station;
      station.name = "pc";
      store->catalogue().add_station(station);
    }
    store->catalogue().change_station(
        "pc", [&](StationRecord& station) { station.writes = WritePlan(plan); });
  }
  void connect() { disk = store->connect(parse_export_name("img@pc"), {}, false); }
  void attach(const std::string& plan) {
    set_writes(plan);
    connect();
  }
  void reboot(const std::string& boot, const std::string& plan) {
    open(boot);
    attach(plan);
  }
  RedirectResult redirect(const std::string& plan, bool carry = false) {
    return store->redirect("pc", WritePlan(plan), {carry, true}, {});
  }

  void put(char value, std::uint64_t number, std::uint64_t blocks = 1) const {
    const std::vector<char> bytes(block * blocks, value);
    disk->disk().write(bytes.data(), bytes.size(), number * block, false);
  }
  char get(std::uint64_t number) const {
    char value = 0;
    disk->disk().read(&value, 1, number * block);
    return value;
  }
  char at_server(std::uint64_t number) const {
    char value = 0;
    File::open(server_file(), O_RDONLY).read(&value, 1, number * block);
    return value;
  }
  Destination writes() const { return store->session("pc").record.writes; }
};

}  // namespace plydisk::test
