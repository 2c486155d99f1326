#include "open_file.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

constexpr std::size_t longest_value = 64 << 10;  // bytes
constexpr std::size_t longest_disk_read = 1 << 20;

}  // namespace

void OpenFile::write(const char*, std::size_t, std::uint64_t, bool) {
  throw Error(EACCES, "this file can't be written");
}

void OpenFile::truncate(std::uint64_t) { throw Error(EACCES, "this file can't be written"); }

std::uint64_t OpenFile::next_data(std::uint64_t offset) {
  if (offset >= size()) throw Error(ENXIO, "there is no data behind the end");
  return offset;
}

std::uint64_t OpenFile::next_hole(std::uint64_t offset) {
  const std::uint64_t end = size();
  if (offset >= end) throw Error(ENXIO, "there is nothing behind the end");
  return end;
}

std::size_t TextFile::read(char* buffer, std::size_t length, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  return offset >= text_.size() ? 0 : text_.copy(buffer, length, offset);
}

std::uint64_t TextFile::size() {
  const std::lock_guard lock(mutex_);
  return text_.size();
}

ValueFile::ValueFile(std::string text, Rules rules, bool emptied)
    : TextFile(std::move(text)), rules_(std::move(rules)), emptied_(emptied) {
  // No value: what is appended is the first of it.
  if (emptied_ || text_ == "\n") text_.clear();
}

// The last line may not be complete yet.
void ValueFile::check_new_lines(const std::string& text) const {
  for (std::size_t from = 0, end; (end = text.find('\n', from)) != std::string::npos;
       from = end + 1)
    rules_.check_line(text.substr(from, end - from));
}

void ValueFile::write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) {
  const std::lock_guard lock(mutex_);
  std::string text = text_;
  if (at_end) offset = text.size();
  if (offset > longest_value || length > longest_value - offset)
    throw Error(EFBIG, "a value has at most 64 KiB");
  text.resize(std::max(text.size(), offset + length));
  std::memcpy(text.data() + offset, data, length);
  if (refused_) throw Error(EINVAL, "a part of this was refused, so nothing of it is set");
  try {
    text_ = std::move(text);
    changed_ = true;
    emptied_ = false;
    if (rules_.check_line)
      check_new_lines(text_);
    else if (text_.ends_with('\n') && offset + length == text_.size())
      set();
  } catch (...) {
    changed_ = false;
    refused_ = true;
    throw;
  }
}

void ValueFile::truncate(std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  if (length > longest_value) throw Error(EFBIG, "a value has at most 64 KiB");
  text_.resize(length);
  refused_ = false;
  // Who empties a file is about to write it, or is done if that is a value.
  changed_ = length > 0 || rules_.clearable;
  emptied_ = !changed_;
}

// The caller holds mutex_.
void ValueFile::set() {
  changed_ = emptied_ = false;
  rules_.set(text_);
}

void ValueFile::flush() {
  const std::lock_guard lock(mutex_);
  if (changed_) set();
}

void ValueFile::close() {
  const std::lock_guard lock(mutex_);
  if (changed_ || (emptied_ && rules_.clearable)) set();
}

std::size_t DraftFile::read(char* buffer, std::size_t length, std::uint64_t offset) {
  return draft_->read(buffer, length, offset);
}

void DraftFile::write(const char* data, std::size_t length, std::uint64_t offset, bool at_end) {
  draft_->write(data, length, offset, at_end);
}

void DraftFile::truncate(std::uint64_t length) { draft_->truncate(length); }

std::uint64_t DraftFile::size() {
  struct stat info {};
  draft_->describe(info);
  return static_cast<std::uint64_t>(info.st_size);
}

std::size_t EventsFile::read(char* buffer, std::size_t length, std::uint64_t offset) {
  // Who follows begins anew when what is kept has become less.
  if (offset == 0) begin_ = stream_.begin();
  return stream_.read(buffer, length, begin_.load() + offset);
}

std::uint64_t EventsFile::size() { return stream_.size(); }

std::size_t DiskFile::read(char* buffer, std::size_t length, std::uint64_t offset) {
  const std::uint64_t size = disk_->size();
  if (offset >= size) return 0;
  length = static_cast<std::size_t>(std::min<std::uint64_t>(length, size - offset));
  for (std::size_t done = 0; done < length;) {
    const std::size_t piece = std::min(longest_disk_read, length - done);
    disk_->read(buffer + done, piece, offset + done);
    done += piece;
  }
  return length;
}

std::uint64_t DiskFile::size() { return disk_->size(); }

// The first byte from there on that is in a hole, or in data.
std::uint64_t DiskFile::next(std::uint64_t offset, bool zeros) {
  const std::uint64_t size = disk_->size();
  const std::lock_guard lock(mutex_);
  while (offset < size) {
    const auto here = [&](const OpenDisk::Extent& extent) {
      return extent.offset <= offset && offset - extent.offset < extent.length;
    };
    auto extent = std::find_if(extents_.begin(), extents_.end(), here);
    if (extent == extents_.end() || !disk_->is_frozen()) {
      extents_ = disk_->extents(offset);
      extent = std::find_if(extents_.begin(), extents_.end(), here);
      if (extent == extents_.end()) break;
    }
    if (extent->is_zero == zeros) return offset;
    offset = extent->offset + extent->length;
  }
  return size;
}

std::uint64_t DiskFile::next_data(std::uint64_t offset) {
  const std::uint64_t found = next(offset, false);
  if (found >= disk_->size()) throw Error(ENXIO, "there is no data behind this");
  return found;
}

std::uint64_t DiskFile::next_hole(std::uint64_t offset) {
  if (offset >= disk_->size()) throw Error(ENXIO, "there is nothing behind the end");
  return next(offset, true);
}

}  // namespace plydisk
