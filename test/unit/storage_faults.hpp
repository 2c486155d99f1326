// Storage that fails when a test says so, and works again when these go out of scope.
#pragma once

#include <sqlite3.h>
#include <sys/types.h>

#include <cerrno>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"

namespace plydisk::test {

class Unobserving : public StorageObserver {
 public:
  Unobserving() { storage_observer.store(this); }
  ~Unobserving() override { storage_observer.store(nullptr); }
  Unobserving(const Unobserving&) = delete;
  Unobserving& operator=(const Unobserving&) = delete;

  void on_write(const std::string&, std::uint64_t, std::span<const std::byte>) override {}
  void on_punch(const std::string&, std::uint64_t, std::uint64_t) override {}
  void on_truncate(const std::string&, std::uint64_t) override {}
  void on_sync(const std::string&) override {}
  void on_create(const std::string&) override {}
  void on_remove(const std::string&) override {}
  void on_rename(const std::string&, const std::string&) override {}
  void on_link(const std::string&, const std::string&) override {}
  void on_sync_directory(const std::string&) override {}
};

// Syncs of files whose path ends so fail, each with this error.
class FailingSyncs final : public Unobserving {
 public:
  FailingSyncs(std::string suffix, int error) : suffix_(std::move(suffix)), error_(error) {}
  bool skip_sync(const std::string& path) override {
    if (path.ends_with(suffix_)) throw_errno(error_, "cannot sync " + path);
    return false;
  }

 private:
  const std::string suffix_;
  const int error_;
};

// A file system on which files have one name each.
class NoHardLinks final : public Unobserving {
  void on_link(const std::string& file, const std::string&) override {
    throw_errno(EPERM, "cannot link " + file);
  }
};

// All writes of SQLite fail with this error.
class FailingSqliteWrites {
 public:
  explicit FailingSqliteWrites(int error) {
    error_ = error;
    replace(reinterpret_cast<sqlite3_syscall_ptr>(fail));
  }
  ~FailingSqliteWrites() { replace(nullptr); }
  FailingSqliteWrites(const FailingSqliteWrites&) = delete;
  FailingSqliteWrites& operator=(const FailingSqliteWrites&) = delete;

 private:
  static ssize_t fail(int, const void*, std::size_t, off_t) {
    errno = error_;
    return -1;
  }
  static void replace(sqlite3_syscall_ptr write) {
    sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
    // Which of the two it uses depends on how it was built.
    vfs->xSetSystemCall(vfs, "pwrite", write);
    vfs->xSetSystemCall(vfs, "pwrite64", write);
  }
  static inline int error_ = 0;
};

}  // namespace plydisk::test
