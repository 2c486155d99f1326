#include "control/store_caller.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/hex.hpp"
#include "stack/stack.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr auto between_attempts = std::chrono::milliseconds(50);
constexpr std::size_t most_idle_clients = 16;
// However busy this process is, others get the store as often as this, for at least a pause.
constexpr auto longest_hold = std::chrono::milliseconds(500);
constexpr auto pause_between_holds = std::chrono::milliseconds(100);

// What a process has open, opened anew for reading alone. None if this process may not, or if that
// number is another file's here: a server in a container of its own has another number.
std::optional<File> reopen(int process, int descriptor, dev_t device, ino_t inode) {
  try {
    File file = File::open("/proc/" + std::to_string(process) + "/fd/" + std::to_string(descriptor),
                           O_RDONLY);
    struct stat info {};
    if (::fstat(file.fd(), &info) == 0 && info.st_dev == device && info.st_ino == inode)
      return file;
  } catch (const Error&) {
    // It is read through the server.
  }
  return std::nullopt;
}

}  // namespace

// One of the server's: the connection is what keeps it open.
class StoreCaller::RemoteDisk final : public OpenDisk {
 public:
  RemoteDisk(ControlClient client, const json& opened)
      : client_(std::move(client)),
        size_(opened.at("size").get<std::uint64_t>()),
        is_frozen_(!opened.at("moment").is_null()) {}
  std::uint64_t size() const override { return size_; }
  bool is_frozen() const override { return is_frozen_; }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    client_.call_for_data("disk.read", {{"offset", offset}, {"length", length}}, buffer, length);
  }
  std::vector<Extent> extents(std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    std::vector<Extent> extents;
    for (const json& extent :
         client_.call("disk.extents", {{"offset", offset}, {"length", size_ - offset}}))
      extents.push_back({extent.at(0), extent.at(1), extent.at(2),
                         extent.at(3).is_null() ? -1 : extent.at(3).get<int>()});
    return extents;
  }
  std::optional<File> open_file(int number) override {
    const std::lock_guard lock(mutex_);
    const json file = client_.call("disk.files", json::object()).at(static_cast<unsigned>(number));
    return reopen(client_.server_process(), file.at(0), file.at(1).get<dev_t>(),
                  file.at(2).get<ino_t>());
  }

 private:
  std::mutex mutex_;  // protects the next
  ControlClient client_;
  const std::uint64_t size_;
  const bool is_frozen_;
};

class StoreCaller::LocalDisk final : public OpenDisk {
 public:
  LocalDisk(std::shared_ptr<Local> local, DiskView view)
      : local_(std::move(local)), view_(std::move(view)), files_(view_.stack->files()) {}
  std::uint64_t size() const override { return view_.stack->version->size(); }
  bool is_frozen() const override { return view_.moment != 0; }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override {
    view_.stack->read(buffer, length, offset);
  }
  std::vector<Extent> extents(std::uint64_t offset) override {
    std::vector<Extent> extents;
    view_.stack->for_each_place(
        offset, size() - offset, [&](Source source, std::uint64_t at, std::uint64_t bytes) {
          extents.push_back({at, bytes, source.is_zeros(), number_of(source, files_)});
        });
    return extents;
  }
  std::optional<File> open_file(int number) override {
    const File& file = *files_.at(static_cast<unsigned>(number)).file;
    struct stat info {};
    if (::fstat(file.fd(), &info) != 0) return std::nullopt;
    return reopen(::getpid(), file.fd(), info.st_dev, info.st_ino);
  }

 private:
  const std::shared_ptr<Local> local_;
  const DiskView view_;
  const std::vector<Stack::SourceFile> files_;
};

StoreCaller::StoreCaller(std::filesystem::path store, Options options)
    : store_(std::move(store)), options_(std::move(options)) {}

StoreCaller::~StoreCaller() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (closer_.joinable()) closer_.join();
}

// A connection to a server that has gone since is not used again: so what is sent is carried out,
// or was never heard of.
std::optional<ControlClient> StoreCaller::take_client() {
  {
    const std::lock_guard lock(mutex_);
    while (!clients_.empty()) {
      ControlClient client = std::move(clients_.back());
      clients_.pop_back();
      if (!client.is_stale()) return client;
    }
  }
  auto client = ControlClient::connect(store_);
  if (client && options_.is_pointless) client->give_up_if(options_.is_pointless);
  return client;
}

void StoreCaller::give_back(ControlClient client) {
  const std::lock_guard lock(mutex_);
  if (clients_.size() < most_idle_clients) clients_.push_back(std::move(client));
}

// Null while another process has the store.
std::shared_ptr<StoreCaller::Local> StoreCaller::take_local() {
  std::unique_lock lock(mutex_);
  local_used_ = Clock::now();
  if (local_ && local_used_ - local_opened_ < longest_hold) return local_;
  if (local_) {
    if (local_.use_count() > 1) return local_;
    local_.reset();
    std::this_thread::sleep_for(pause_between_holds);
    return nullptr;
  }
  auto opened = std::make_shared<Local>();
  StoreOptions store_options;
  store_options.refuse_station = options_.refuse_station;
  opened->store = Store::open(store_, store_options);
  opened->service = std::make_unique<ControlService>(*opened->store, ControlService::Role::command);
  if (options_.linger.count() == 0) return opened;
  local_ = opened;
  local_opened_ = Clock::now();
  if (!closer_.joinable()) closer_ = std::thread([this] { close_unused(); });
  return opened;
}

void StoreCaller::close_unused() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    stop_.wait_for(lock, options_.linger);
    if (local_.use_count() == 1 && Clock::now() - local_used_ >= options_.linger) local_.reset();
  }
}

template <typename Fn>
auto StoreCaller::reach(Fn&& fn) {
  const auto give_up = Clock::now() + options_.patience;
  for (;;) {
    if (auto client = take_client()) return fn(std::move(*client));
    const bool is_late = Clock::now() >= give_up;
    if (options_.server_only && is_late) throw Error(EAGAIN, *options_.server_only);
    std::shared_ptr<Local> local;
    try {
      if (!options_.server_only) local = take_local();
    } catch (const Error& error) {
      if (error.code() != EBUSY) throw;
      if (is_late)
        throw Error(EBUSY, error.what() + std::string(", and nobody answers on ") +
                               (store_ / "control").string() +
                               ": wait until it is done, or stop it");
    }
    if (local) return fn(std::move(local));
    std::this_thread::sleep_for(between_attempts);
  }
}

namespace {

// Two ways to do the same, as std::visit wants them.
template <typename... Fn>
struct Overloaded : Fn... {
  using Fn::operator()...;
};
template <typename... Fn>
Overloaded(Fn...) -> Overloaded<Fn...>;

}  // namespace

json StoreCaller::call(const std::string& method, const json& params, const Progress& progress) {
  return reach(Overloaded{
      [&](ControlClient client) {
        json result;
        try {
          result = client.call(method, params, progress);
        } catch (const Error&) {
          if (client.is_in_order()) give_back(std::move(client));
          throw;
        }
        give_back(std::move(client));
        return result;
      },
      [&](const std::shared_ptr<Local>& local) {
        // With no server between, nobody else looks whether the answer is still wanted.
        return local->service->call(method, params, [&](std::uint64_t done, std::uint64_t total) {
          if (options_.is_pointless && options_.is_pointless())
            throw Error(EINTR, "it was interrupted before it was done");
          if (progress) progress(done, total);
        });
      },
  });
}

std::unique_ptr<OpenDisk> StoreCaller::open_disk(const json& what) {
  return reach(Overloaded{
      [&](ControlClient client) -> std::unique_ptr<OpenDisk> {
        const json opened = client.call("disk.open", what);
        return std::make_unique<RemoteDisk>(std::move(client), opened);
      },
      [&](std::shared_ptr<Local> local) -> std::unique_ptr<OpenDisk> {
        ClientDisk disk;
        local->service->call("disk.open", what, {}, &disk);
        return std::make_unique<LocalDisk>(std::move(local), std::move(disk.view));
      },
  });
}

std::unique_ptr<StationDisk> StoreCaller::open_station_disk(const std::string& station) {
  const json what{{"station", station}, {"write", true}};
  return reach(Overloaded{
      [&](ControlClient client) {
        client.call("disk.open", what);
        return std::make_unique<StationDisk>(std::move(client));
      },
      [&](const std::shared_ptr<Local>& local) -> std::unique_ptr<StationDisk> {
        // Throws: with no server there is none.
        ClientDisk disk;
        local->service->call("disk.open", what, {}, &disk);
        return nullptr;
      },
  });
}

void StationDisk::read(void* buffer, std::size_t length, std::uint64_t offset) {
  client_.call_for_data("disk.read", {{"offset", offset}, {"length", length}}, buffer, length);
}

void StationDisk::write(const void* data, std::size_t length, std::uint64_t offset) {
  const std::string digits = to_hex({static_cast<const unsigned char*>(data), length});
  client_.call("disk.write", {{"offset", offset}, {"data", digits}});
}

void StationDisk::flush() { client_.call("disk.flush", json::object()); }

}  // namespace plydisk
