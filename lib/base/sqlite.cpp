#include "base/sqlite.hpp"

#include <utility>

namespace plydisk {

namespace {

int errno_of(int code) {
  switch (code & 0xff) {
    case SQLITE_CANTOPEN:
      return ENOENT;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return EACCES;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EBUSY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return EUCLEAN;
    case SQLITE_CONSTRAINT:
      return EEXIST;
    case SQLITE_NOMEM:
      return ENOMEM;
    default:
      return EIO;
  }
}

// Whether the last write to the journal failed because a quota is used up. SQLite knows a full disk
// by ENOSPC alone, and sqlite3_system_errno() is not set when it is a statement that fails.
bool is_over_quota(sqlite3* db) {
  sqlite3_file* journal = nullptr;
  int error = 0;
  return sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal) == SQLITE_OK &&
         journal->pMethods != nullptr &&
         journal->pMethods->xFileControl(journal, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
         error == EDQUOT;
}

}  // namespace

Database Database::open(const std::filesystem::path& path, Mode mode) {
  Database db;
  db.path_ = path.string();
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  switch (mode) {
    case Mode::create:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
      break;
    case Mode::read_write:
      flags |= SQLITE_OPEN_READWRITE;
      break;
    case Mode::read_only:
      flags |= SQLITE_OPEN_READONLY;
      break;
  }
  const int code = sqlite3_open_v2(path.c_str(), &db.db_, flags, nullptr);
  if (code != SQLITE_OK) db.fail(code, "cannot open");
  sqlite3_busy_timeout(db.db_, 5000);
  return db;
}

Database::Database(Database&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {}

Database& Database::operator=(Database&& other) noexcept {
  if (this != &other) {
    close();
    db_ = std::exchange(other.db_, nullptr);
    path_ = std::move(other.path_);
  }
  return *this;
}

Database::~Database() { close(); }

void Database::close() noexcept { sqlite3_close_v2(std::exchange(db_, nullptr)); }

void Database::exec(const char* sql) {
  const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code, "cannot use");
}

Statement Database::prepare(std::string_view sql) { return Statement(*this, sql); }

void Database::check(const std::string& table) {
  Statement check(*this, "PRAGMA quick_check(" + (table.empty() ? "1" : table) + ")");
  if (check.step() && check.text(0) != "ok")
    throw Error(EUCLEAN, path_ + " is damaged: " + check.text(0));
}

std::vector<std::string> Database::find_faults() {
  std::vector<std::string> faults;
  Statement row(*this, "PRAGMA integrity_check(20)");
  while (row.step())
    if (const std::string fault = row.text(0); fault != "ok")
      faults.push_back(path_ + " is damaged: " + fault);
  return faults;
}

void Database::fail(int code, const std::string& doing) const {
  const int error = code == SQLITE_IOERR_WRITE && is_over_quota(db_) ? EDQUOT : errno_of(code);
  throw Error(error, doing + " " + path_ + ": " +
                         (db_ != nullptr ? sqlite3_errmsg(db_) : sqlite3_errstr(code)));
}

Statement::Statement(Database& db, std::string_view sql) : db_(&db) {
  const int code = sqlite3_prepare_v2(db.handle(), sql.data(), static_cast<int>(sql.size()),
                                      &statement_, nullptr);
  if (code != SQLITE_OK) db.fail(code, "cannot use");
}

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
  return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::bind_blob(int index, std::span<const std::byte> blob) {
  sqlite3_bind_blob64(statement_, index, blob.data(), blob.size(), SQLITE_STATIC);
  return *this;
}

Statement& Statement::bind_null(int index) {
  sqlite3_bind_null(statement_, index);
  return *this;
}

Statement& Statement::bind(int index, const std::optional<std::string>& text) {
  return text ? bind(index, std::string_view(*text)) : bind_null(index);
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  db_->fail(code, "cannot use");
}

void Statement::run() {
  try {
    step();
  } catch (...) {
    reset();
    throw;
  }
  reset();
}

void Statement::reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Statement::text(int column) const {
  const auto* text = sqlite3_column_text(statement_, column);
  return text == nullptr
             ? std::string()
             : std::string(reinterpret_cast<const char*>(text),
                           static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::optional<std::string> Statement::optional_text(int column) const {
  if (is_null(column)) return std::nullopt;
  return text(column);
}

std::span<const std::byte> Statement::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Transaction::Transaction(Database& db) : db_(&db) { db.exec("BEGIN IMMEDIATE"); }

Transaction::~Transaction() {
  // After some errors SQLite has rolled back by itself; then there is nothing left to do.
  if (db_ != nullptr && sqlite3_get_autocommit(db_->handle()) == 0)
    sqlite3_exec(db_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  db_->exec("COMMIT");
  db_ = nullptr;
}

}  // namespace plydisk
