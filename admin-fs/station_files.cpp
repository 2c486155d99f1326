#include "station_files.hpp"

#include <algorithm>

namespace plydisk {

namespace {

using namespace std::chrono_literals;

constexpr auto idle_before_leaving = 8s;
constexpr auto between_looks = 1s;
// A station whose power was cut is still connected for its server, until the network stack of its
// firmware says otherwise. iSCSI initiators wait for 15 seconds and more.
constexpr auto patience_with_former = 10s;
constexpr auto between_attempts = 500ms;

// The server has been there before, and the request can be made again: of the station's session as
// it is now.
bool is_to_be_repeated(const Error& error) {
  return error.code() == ECONNRESET || error.code() == ESTALE || error.code() == ESHUTDOWN;
}

}  // namespace

std::unique_ptr<StationDisk> StationLink::connect() const {
  const auto give_up = Clock::now() + patience_with_former;
  while (true) {
    try {
      return caller_.open_station_disk(station_);
    } catch (const Error& error) {
      if (error.code() != EBUSY || Clock::now() >= give_up) throw;
    }
    std::this_thread::sleep_for(between_attempts);
  }
}

// The caller holds mutex_.
template <typename Fn>
void StationLink::ask(Fn&& fn) {
  for (bool is_second = false;; is_second = true) {
    if (!disk_) disk_ = connect();
    try {
      fn(*disk_);
      used_ = Clock::now();
      return;
    } catch (const Error& error) {
      const bool is_over = is_to_be_repeated(error);
      if (is_over || !disk_->is_in_order()) disk_.reset();
      if (!is_over || is_second) throw;
    }
  }
}

void StationLink::read(char* buffer, std::size_t length, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  ask([&](StationDisk& disk) { disk.read(buffer, length, offset); });
}

void StationLink::write(const char* data, std::size_t length, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  ask([&](StationDisk& disk) { disk.write(data, length, offset); });
  is_unflushed_ = true;
}

void StationLink::flush() {
  const std::lock_guard lock(mutex_);
  if (failure_) throw *std::exchange(failure_, std::nullopt);
  if (!is_unflushed_) return;
  ask([](StationDisk& disk) { disk.flush(); });
  is_unflushed_ = false;
}

// The caller holds mutex_.
void StationLink::disconnect_locked() noexcept {
  try {
    try {
      if (disk_ && is_unflushed_) disk_->flush();
      is_unflushed_ = false;
    } catch (const Error& error) {
      failure_ = error;
      report_(station_, error.what());
    }
  } catch (const std::exception&) {
    // Out of memory: it is unflushed still, and so the next flush makes it good, or fails.
  }
  disk_.reset();
}

void StationLink::disconnect() noexcept {
  const std::lock_guard lock(mutex_);
  disconnect_locked();
}

void StationLink::disconnect_if_idle(std::chrono::seconds idle) noexcept {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock && disk_ && Clock::now() - used_ >= idle) disconnect_locked();
}

StationLinks::~StationLinks() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  for (const auto& known : links_)
    if (const auto link = known.lock()) link->disconnect();
}

std::shared_ptr<StationLink> StationLinks::open(const std::string& station) {
  auto link = std::make_shared<StationLink>(caller_, report_, station);
  const std::lock_guard lock(mutex_);
  links_.push_back(link);
  // Not earlier: it would not outlive the fork into the background.
  if (!watcher_.joinable()) watcher_ = std::thread([this] { watch(); });
  changed_.notify_all();
  return link;
}

void StationLinks::watch() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    if (links_.empty())
      changed_.wait(lock);
    else
      changed_.wait_for(lock, between_looks);
    std::erase_if(links_, [](const auto& known) { return known.expired(); });
    const auto links = links_;
    lock.unlock();
    for (const auto& known : links)
      if (const auto link = known.lock()) link->disconnect_if_idle(idle_before_leaving);
    lock.lock();
  }
}

std::size_t StationFile::read(char* buffer, std::size_t length, std::uint64_t offset) {
  if (offset >= size_) return 0;
  length = static_cast<std::size_t>(std::min<std::uint64_t>(length, size_ - offset));
  for (std::size_t done = 0; done < length;) {
    const std::size_t piece = std::min(StationDisk::longest_request, length - done);
    link_->read(buffer + done, piece, offset + done);
    done += piece;
  }
  return length;
}

void StationFile::write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) {
  if (at_end || offset > size_ || length > size_ - offset)
    throw Error(ENOSPC, "this ends behind the disk, which has " + std::to_string(size_) + " bytes");
  for (std::size_t done = 0; done < length;) {
    const std::size_t piece = std::min(StationDisk::longest_request, length - done);
    link_->write(data + done, piece, offset + done);
    done += piece;
  }
}

void StationFile::truncate(std::uint64_t length) {
  if (length != size_)
    throw Error(EPERM,
                "a station's disk is as large as its image, and stays so: write to it "
                "without truncating it, as \"dd conv=notrunc\" does");
}

void StationFile::close() {
  // The session is to be the system's; whoever has closed the file has nothing more to ask.
  link_->flush();
  link_->disconnect();
}

}  // namespace plydisk
