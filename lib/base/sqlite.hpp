// SQLite with RAII. One connection belongs to one owner, who serializes its use.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

class Statement;

class Database {
 public:
  enum class Mode { create, read_write, read_only };
  Database() = default;
  // Errors: ENOENT, EACCES, EUCLEAN (not a database, or damaged), ENOSPC, EDQUOT, EBUSY, EIO.
  static Database open(const std::filesystem::path& path, Mode mode);
  Database(Database&& other) noexcept;
  Database& operator=(Database&& other) noexcept;
  ~Database();
  explicit operator bool() const noexcept { return db_ != nullptr; }
  void close() noexcept;

  // Runs statements that give no rows.
  void exec(const char* sql);
  Statement prepare(std::string_view sql);
  // SQLite's quick_check, of one table alone if it is named; throws EUCLEAN with what it found.
  void check(const std::string& table = "");
  // SQLite's integrity_check: a sentence for each of the first faults; none: it is sound.
  std::vector<std::string> find_faults();
  sqlite3* handle() const noexcept { return db_; }
  [[noreturn]] void fail(int code, const std::string& doing) const;

 private:
  sqlite3* db_ = nullptr;
  std::string path_;
};

class Statement {
 public:
  Statement(Database& db, std::string_view sql);
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Parameters count from 1. Text and blobs must live until the next step or reset.
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind_blob(int index, std::span<const std::byte> blob);
  Statement& bind_null(int index);
  Statement& bind(int index, const std::optional<std::string>& text);

  // True while there is a row.
  bool step();
  // Steps a statement that gives no rows, and makes it ready to run again.
  void run();
  void reset();

  // Columns count from 0.
  std::int64_t integer(int column) const;
  std::string text(int column) const;
  std::optional<std::string> optional_text(int column) const;
  std::span<const std::byte> blob(int column) const;  // valid until the next step
  bool is_null(int column) const;

 private:
  Database* db_;
  sqlite3_stmt* statement_ = nullptr;
};

// BEGIN IMMEDIATE … COMMIT; rolled back when it goes out of scope without commit().
class Transaction {
 public:
  explicit Transaction(Database& db);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  void commit();

 private:
  Database* db_;
};

}  // namespace plydisk
