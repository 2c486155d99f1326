#include "drafts.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

// An editor makes its file again at once; one that died must not take the value with it.
constexpr std::chrono::seconds hidden_for{3}, remembered_for{10};

}  // namespace

Draft::Draft(mode_t mode, std::string text)
    : mode_(mode & 0777), text_(std::move(text)), changed_(std::time(nullptr)) {}

std::string Draft::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

std::size_t Draft::read(char* buffer, std::size_t length, std::size_t offset) const {
  const std::lock_guard lock(mutex_);
  if (offset >= text_.size()) return 0;
  return text_.copy(buffer, length, offset);
}

void Draft::write(const char* data, std::size_t length, std::size_t offset, bool at_end) {
  const std::lock_guard lock(mutex_);
  if (at_end) offset = text_.size();
  if (offset > longest || length > longest - offset)
    throw Error(EFBIG, "a temporary file takes at most 16 MiB");
  text_.resize(std::max(text_.size(), offset + length));
  std::memcpy(text_.data() + offset, data, length);
  changed_ = std::time(nullptr);
}

void Draft::truncate(std::size_t length) {
  if (length > longest) throw Error(EFBIG, "a temporary file takes at most 16 MiB");
  const std::lock_guard lock(mutex_);
  text_.resize(length);
  changed_ = std::time(nullptr);
}

void Draft::set_mode(mode_t mode) {
  const std::lock_guard lock(mutex_);
  mode_ = mode & 0777;
}

void Draft::set_time(std::int64_t changed) {
  const std::lock_guard lock(mutex_);
  changed_ = changed;
}

void Draft::describe(struct stat& info) const {
  const std::lock_guard lock(mutex_);
  info.st_mode = S_IFREG | mode_;
  info.st_nlink = 1;
  info.st_size = static_cast<off_t>(text_.size());
  info.st_blocks = (info.st_size + 511) / 512;
  info.st_mtim.tv_sec = changed_;
  info.st_ctim = info.st_atim = info.st_mtim;
}

std::shared_ptr<Draft> Drafts::find(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto found = drafts_.find(path);
  return found == drafts_.end() ? nullptr : found->second;
}

std::shared_ptr<Draft> Drafts::make(const std::string& path, mode_t mode, std::string text) {
  const std::lock_guard lock(mutex_);
  if (drafts_.size() >= most)
    throw Error(ENOSPC, "there are too many temporary files in the mount: remove some");
  auto draft = std::make_shared<Draft>(mode, std::move(text));
  drafts_[path] = draft;
  return draft;
}

bool Drafts::remove(const std::string& path) {
  const std::lock_guard lock(mutex_);
  return drafts_.erase(path) != 0;
}

void Drafts::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  if (auto moved = drafts_.extract(from)) drafts_[to] = std::move(moved.mapped());
}

std::vector<std::string> Drafts::list(const std::string& folder) const {
  const std::string prefix = folder == "/" ? folder : folder + "/";
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (auto it = drafts_.lower_bound(prefix); it != drafts_.end(); ++it) {
    if (!it->first.starts_with(prefix)) break;
    if (std::string name = it->first.substr(prefix.size()); name.find('/') == std::string::npos)
      names.push_back(std::move(name));
  }
  return names;
}

void Drafts::remove_folder(const std::string& folder) {
  const std::lock_guard lock(mutex_);
  std::erase_if(drafts_, [&](const auto& draft) { return draft.first.starts_with(folder + "/"); });
}

void Drafts::hide(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  std::erase_if(hidden_,
                [&](const auto& entry) { return now - entry.second.since >= remembered_for; });
  hidden_[path] = {now};
}

bool Drafts::is_hidden(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto found = hidden_.find(path);
  return found != hidden_.end() && !found->second.is_back &&
         Clock::now() - found->second.since < hidden_for;
}

bool Drafts::was_hidden(const std::string& path, std::chrono::milliseconds ago) const {
  const std::lock_guard lock(mutex_);
  const auto found = hidden_.find(path);
  return found != hidden_.end() && Clock::now() - found->second.since < ago;
}

void Drafts::show(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto found = hidden_.find(path); found != hidden_.end()) found->second.is_back = true;
}

}  // namespace plydisk
