#include "recorder.hpp"

#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

namespace plydisk::torture {

namespace {

// Where the sync that this thread is in began. One is enough: a thread does one at a time.
thread_local std::uint64_t sync_began = 0;
thread_local std::string sync_path;
thread_local bool sync_brings_times = false;

std::int64_t mtime_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return 0;
  return static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
}

}  // namespace

}  // namespace plydisk::torture

// A StorageObserver is told of fsync and fdatasync alike, but only the former makes a file's times
// durable. So the former is watched itself: this definition goes before that of the C library.
// Neither does anything: no power is really cut, and the syncs would take most of the time.
extern "C" int fsync(int) {
  plydisk::torture::sync_brings_times = true;
  return 0;
}
extern "C" int fdatasync(int) { return 0; }

namespace plydisk::torture {

Recorder::Recorder(std::filesystem::path root) : root_(std::move(root)) {}

void Recorder::skip_syncs(std::function<bool(const std::string&)> predicate) {
  skip_ = std::move(predicate);
}

void Recorder::slow_down(unsigned microseconds) { most_delay_us_ = microseconds; }

void Recorder::take_time() {
  if (most_delay_us_ == 0) return;
  // A number that repeats with the order of the calls, which is all the randomness needed here.
  const std::uint64_t nth = delays_.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t mixed = (nth + 1) * 0x9e3779b97f4a7c15ULL >> 40;
  std::this_thread::sleep_for(std::chrono::microseconds(mixed % most_delay_us_));
}

std::uint64_t Recorder::position() const {
  const std::lock_guard lock(mutex_);
  return operations_.size();
}

std::uint64_t Recorder::mark() { return add({}); }

bool Recorder::is_inside(const std::string& path) const {
  const std::string& root = root_.native();
  return path.compare(0, root.size(), root) == 0 &&
         (path.size() == root.size() || path[root.size()] == '/');
}

std::string Recorder::relative(const std::string& path) const {
  std::string inside = path.substr(root_.native().size());
  while (!inside.empty() && inside.back() == '/') inside.pop_back();
  if (!inside.empty()) inside.erase(0, 1);
  return inside;
}

std::uint64_t Recorder::add(Operation operation) {
  const std::lock_guard lock(mutex_);
  operations_.push_back(std::move(operation));
  return operations_.size() - 1;
}

void Recorder::add_directory(const std::string& relative_path) {
  if (relative_path.empty() || !directories_.insert(relative_path).second) return;
  Operation operation;
  operation.kind = Operation::Kind::create_directory;
  operation.path = relative_path;
  operations_.push_back(std::move(operation));
}

void Recorder::add_parents(const std::string& relative_path) {
  for (auto slash = relative_path.find('/'); slash != std::string::npos;
       slash = relative_path.find('/', slash + 1))
    add_directory(relative_path.substr(0, slash));
}

void Recorder::snapshot(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  on_write(path.native(), 0, std::as_bytes(std::span(content)));
}

void Recorder::sync_everything() {
  std::vector<std::string> directories{root_.native()};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
    const std::string path = entry.path().native();
    if (entry.is_directory())
      directories.push_back(path);
    else if (entry.is_regular_file() && !skip_sync(path)) {
      sync_brings_times = true;
      on_sync(path);
    }
  }
  for (const std::string& directory : directories) on_sync_directory(directory);
}

void Recorder::on_write(const std::string& path, std::uint64_t offset,
                        std::span<const std::byte> data) {
  if (!is_inside(path) || data.empty()) return;
  if (data.size() % 8192 == 0) take_time();
  Operation operation;
  operation.kind = Operation::Kind::write;
  operation.path = relative(path);
  operation.offset = offset;
  operation.length = data.size();
  operation.data.assign(data.begin(), data.end());
  operation.mtime_ns = mtime_of(path);
  add(std::move(operation));
}

void Recorder::on_punch(const std::string& path, std::uint64_t offset, std::uint64_t length) {
  if (!is_inside(path) || length == 0) return;
  take_time();
  Operation operation;
  operation.kind = Operation::Kind::punch;
  operation.path = relative(path);
  operation.offset = offset;
  operation.length = length;
  operation.mtime_ns = mtime_of(path);
  add(std::move(operation));
}

void Recorder::on_truncate(const std::string& path, std::uint64_t size) {
  if (!is_inside(path)) return;
  Operation operation;
  operation.kind = Operation::Kind::truncate;
  operation.path = relative(path);
  operation.length = size;
  operation.mtime_ns = mtime_of(path);
  add(std::move(operation));
}

bool Recorder::skip_sync(const std::string& path) {
  if (!is_inside(path)) return false;
  sync_began = position();
  sync_path = path;
  sync_brings_times = false;
  take_time();
  return skip_ && skip_(path);
}

void Recorder::on_sync(const std::string& path) {
  if (!is_inside(path)) return;
  Operation operation;
  operation.kind = Operation::Kind::sync;
  operation.path = relative(path);
  operation.mtime_ns = mtime_of(path);
  operation.with_times = sync_brings_times;
  const std::lock_guard lock(mutex_);
  operation.offset = path == sync_path ? sync_began : operations_.size();
  operations_.push_back(std::move(operation));
}

void Recorder::on_create(const std::string& path) {
  if (!is_inside(path)) return;
  Operation operation;
  operation.kind = Operation::Kind::create;
  operation.path = relative(path);
  operation.mtime_ns = mtime_of(path);
  const bool directory = std::filesystem::is_directory(path);
  const std::lock_guard lock(mutex_);
  add_parents(operation.path);
  if (directory)
    add_directory(operation.path);
  else
    operations_.push_back(std::move(operation));
}

void Recorder::on_remove(const std::string& path) {
  if (!is_inside(path)) return;
  Operation operation;
  operation.kind = Operation::Kind::remove;
  operation.path = relative(path);
  const std::lock_guard lock(mutex_);
  directories_.erase(operation.path);
  operations_.push_back(std::move(operation));
}

void Recorder::on_rename(const std::string& from, const std::string& to) {
  if (!is_inside(from) || !is_inside(to)) return;
  Operation operation;
  operation.kind = Operation::Kind::rename;
  operation.path = relative(from);
  operation.target = relative(to);
  const std::lock_guard lock(mutex_);
  add_parents(operation.target);
  if (directories_.erase(operation.path) != 0) directories_.insert(operation.target);
  operations_.push_back(std::move(operation));
}

void Recorder::on_link(const std::string& file, const std::string& name) {
  if (!is_inside(file) || !is_inside(name)) return;
  Operation operation;
  operation.kind = Operation::Kind::link;
  operation.path = relative(file);
  operation.target = relative(name);
  const std::lock_guard lock(mutex_);
  add_parents(operation.target);
  operations_.push_back(std::move(operation));
}

void Recorder::on_sync_directory(const std::string& path) {
  if (!is_inside(path) || (skip_ && skip_(path))) return;
  Operation operation;
  operation.kind = Operation::Kind::sync_directory;
  operation.path = relative(path);
  std::vector<std::string> inside;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored))
    if (entry.is_directory(ignored)) inside.push_back(relative(entry.path().native()));
  const std::lock_guard lock(mutex_);
  for (const std::string& directory : inside) add_directory(directory);
  operations_.push_back(std::move(operation));
}

}  // namespace plydisk::torture
