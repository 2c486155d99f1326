// The store's folder, its lock, and the work that is due now and then.
#include "store/store_impl.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/uuid.hpp"

namespace plydisk {

namespace {

constexpr std::chrono::milliseconds maintenance_period{500};
constexpr std::chrono::seconds unused_version_kept{60};
constexpr std::size_t many_removed_layers = 100;
constexpr const char* lock_name = "lock";

void require_named(const std::filesystem::path& directory) {
  if (directory.empty()) throw Error(EINVAL, "the name of the store's folder is empty");
}

}  // namespace

void Store::init(const std::filesystem::path& directory, StoreRole role) {
  require_named(directory);
  std::error_code error;
  const bool is_new = std::filesystem::create_directories(directory, error);
  if (error) throw_errno(error.value(), "cannot create " + directory.string());
  // Disks of people: theirs who serve them, and nobody else's. A folder that was there stays as it
  // is.
  if (is_new) std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
  if (std::filesystem::exists(directory / "catalogue.sqlite"))
    throw Error(EEXIST, "there is a store in " + directory.string() + " already");
  for (const char* name : {"images", "layers"}) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory / name, ignored))
      if (entry.path().filename() != "lost+found")
        throw Error(EEXIST,
                    directory.string() + " has " + name +
                        ", but no catalogue: restore catalogue.sqlite from a backup, or move "
                        "the folders \"images\" and \"layers\" away");
    if (::mkdir((directory / name).c_str(), 0700) != 0 && errno != EEXIST)
      throw_errno("cannot create " + (directory / name).string());
  }
  Catalogue::create(directory, role);
  sync_directory(directory);
}

std::unique_ptr<Store> Store::open(const std::filesystem::path& directory,
                                   const StoreOptions& options) {
  require_named(directory);
  return std::make_unique<StoreImpl>(std::filesystem::absolute(directory), options);
}

StoreImpl::StoreImpl(const std::filesystem::path& directory, const StoreOptions& options)
    : directory_(directory),
      options_(options),
      boot_id_(options.boot_id.empty() ? boot_id() : options.boot_id),
      agreement_(options.upstream),
      lock_(take_lock(directory, options.lock_patience)),
      reserve_(directory),
      catalogue_(open_catalogue(directory)) {
  if (options_.refuse_station && is_station())
    throw Error(EAGAIN, "the store " + directory.string() +
                            " is an attached disk's, and the process that serves the disk does not "
                            "answer; it is started anew if need be: try again");
  use_reserve_if_full();
  if (!is_station()) reserve_.keep();
  remove_orphans();
  end_sessions_of_earlier_boots();
  // A crash may have come between the end of a version's last session, or the merge, and this.
  remove_unused_versions();
  if (!options_.serve) return;
  if (options_.keeps_files) reserve_.keep();
  for (const auto& session : catalogue_.sessions())
    if (session.ended == 0)
      waiting_.try_emplace(session.id, LiveSession::Clock::now() + grace(session));
  maintenance_ = std::thread([this] { maintain(); });
}

StoreImpl::~StoreImpl() { stop(); }

// The catalogue needs some room to be opened.
Catalogue StoreImpl::open_catalogue(const std::filesystem::path& directory) const {
  try {
    return Catalogue(directory);
  } catch (const Error& error) {
    if (!is_disk_full(error.code()) || reserve_.give_up() == 0) throw;
  }
  return Catalogue(directory);
}

// A station's layers may fill the file system that its catalogue lies on. What it has for writing
// down what happens then, and for the index of what goes on to the server, is given up in time, and
// not kept for an administrator's verbs.
void StoreImpl::use_reserve_if_full() const noexcept {
  if (is_station()) reserve_.give_up_if_full();
}

void StoreImpl::stop() {
  std::vector<SessionPtr> live;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [id, session] : live_) live.push_back(session);
    for (const auto& [name, backing] : backings_)
      if (const auto open = backing.lock()) open->stop_waiting();
  }
  wake_.notify_all();
  if (maintenance_.joinable()) maintenance_.join();
  for (const auto& session : live) {
    const std::lock_guard change(session->change_mutex);
    session->ended = true;  // for this process
    session->disk->shut("the server is stopping");
    for (const auto& layer : session->disk->stack().layers) {
      try {
        layer->settle();
      } catch (const std::exception&) {
        // The layer's map has what the index lacks, as after a crash.
      }
    }
    session->disk->change([](Stack& stack, bool&) { stack = {}; });
  }
  close_versions([](OpenVersion&) { return true; });
}

// With a version goes its backing, and with that the connections to a server, which may take a
// while.
void StoreImpl::close_versions(const std::function<bool(OpenVersion&)>& which) {
  std::vector<OpenVersion> closed;
  const std::lock_guard lock(mutex_);
  for (auto it = versions_.begin(); it != versions_.end();) {
    if (!which(it->second)) {
      ++it;
      continue;
    }
    closed.push_back(std::move(it->second));
    it = versions_.erase(it);
  }
}

UniqueFd StoreImpl::take_lock(const std::filesystem::path& directory,
                              std::chrono::milliseconds patience) {
  std::error_code error;
  const bool is_there = std::filesystem::exists(directory / "catalogue.sqlite", error);
  if (error) throw_errno(error.value(), "cannot open the store " + directory.string());
  if (!is_there)
    throw Error(ENOENT, "there is no store in " + directory.string() +
                            "; make one with: plydisk --store " + directory.string() + " init");
  UniqueFd fd(::open((directory / lock_name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) {
    if (errno == EROFS || errno == EACCES)
      throw Error(errno, "the store " + directory.string() +
                             " cannot be written; sessions need a place for their layers");
    throw_errno("cannot open the lock of the store " + directory.string());
  }
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    if (errno != EWOULDBLOCK) throw_errno("cannot lock the store " + directory.string());
    throw Error(EBUSY, "the store " + directory.string() + " is in use by process " +
                           read_text_file(directory / lock_name));
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    throw_errno("cannot write to the store " + directory.string());
  return fd;
}

// Folders that a crash left between their making and the catalogue's record, or the other way
// round. Others stay, since they may be somebody's data: the catalogue may be an older copy.
void StoreImpl::remove_orphans() {
  const std::vector<std::string> doomed = catalogue_.doomed_layers();
  for (const auto& uuid : doomed) remove_tree(layer_folder(uuid));
  if (!doomed.empty()) {
    sync_directory(directory_ / "layers");
    with_reserve([&] { catalogue_.forget_doomed(doomed); });
  }
  for (const auto& name : catalogue_.doomed_images()) remove_image_folder(name);
  std::error_code ignored;
  for (const char* folder : {"images", captures_name})
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / folder, ignored))
      if (entry.path().filename().string().starts_with(".")) remove_tree(entry.path());
  // A captured disk that is an image by now.
  std::vector<std::filesystem::path> adopted;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / captures_name, ignored))
    if (std::filesystem::equivalent(entry.path() / "disk",
                                    directory_ / "images" / entry.path().filename() / "disk",
                                    ignored))
      adopted.push_back(entry.path());
  for (const auto& path : adopted) remove_tree(path);
}

// What a session of an earlier boot had in memory is lost, and so is its station's trust in it.
void StoreImpl::end_sessions_of_earlier_boots() {
  for (const auto& session : catalogue_.sessions()) {
    if (session.ended != 0 || session.boot == boot_id_) continue;
    try {
      finish_record(session, false);
    } catch (const Error&) {
      // A full disk, for one. All others are served, and maintenance tries again.
      waiting_[session.id] = LiveSession::Clock::time_point::min();
    }
  }
}

void StoreImpl::log(const std::string& sentence) const {
  if (options_.log) options_.log(sentence);
}

bool StoreImpl::is_over(const SessionRecord& record) {
  if (record.boot != boot_id_) return true;
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(record.id);
  return found != waiting_.end() && found->second <= LiveSession::Clock::now();
}

// A station's disk is there until it is detached, whether somebody has it open or not.
std::chrono::seconds StoreImpl::grace(const SessionRecord& session) {
  if (is_station()) return std::chrono::hours(24 * 365 * 100);
  // A token tells a station that comes back from one that was rebooted.
  return std::chrono::seconds(
      std::stoll(catalogue_.parameter(session.token.empty() ? "session-grace" : "attached-grace")));
}

void StoreImpl::maintain() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, maintenance_period);
    if (stopping_) return;
    lock.unlock();
    try {
      maintain_once();
    } catch (const std::exception&) {
      // A full disk, for one: the next time may be better, and requests report errors themselves.
    }
    lock.lock();
  }
}

void StoreImpl::close_unused_versions() {
  const auto now = LiveSession::Clock::now();
  close_versions([&](OpenVersion& open) {
    if (open.version.use_count() > 1) open.used = now;
    return now - open.used > unused_version_kept;
  });
}

// Not at each removal, since it takes a sync: else a power cut could bring back files that the
// catalogue has forgotten.
void StoreImpl::forget_removed_layers() {
  std::vector<std::string> removed;
  {
    const std::lock_guard lock(mutex_);
    if (removed_.size() < many_removed_layers) return;
    removed.swap(removed_);
  }
  sync_directory(directory_ / "layers");
  catalogue_.forget_doomed(removed);
}

void StoreImpl::maintain_once() {
  const auto now = LiveSession::Clock::now();
  std::vector<SessionPtr> live, over;
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : live_)
      (session->connections == 0 && now - session->idle_since >= grace(session->record) ? over
                                                                                        : live)
          .push_back(session);
    for (const auto& [id, until] : waiting_)
      if (now >= until) gone.push_back(id);
  }
  if (!is_station()) reserve_.keep();
  close_unused_versions();
  forget_removed_layers();
  for (const auto& session : over) {
    try {
      finish(session, End::if_idle, false, "the session has ended");
    } catch (const Error&) {
      // The catalogue could not be written: it waits with the others.
    }
  }
  for (const auto& id : gone) {
    const std::lock_guard connect(connect_mutex_);
    try {
      const auto record = catalogue_.find_session(id);
      const bool is_live = [&] {
        const std::lock_guard lock(mutex_);
        return live_.contains(id);
      }();
      if (!is_live && record && record->ended == 0) finish_record(*record, false);
      const std::lock_guard lock(mutex_);
      waiting_.erase(id);
    } catch (const Error&) {
      // Next time.
    }
  }
  for (const auto& session : live) {
    for (const auto& layer : session->disk->stack().layers) {
      try {
        layer->maintain();
      } catch (const Error&) {
        // Its own requests report it; the other layers' work goes on.
      }
    }
  }
}

}  // namespace plydisk
