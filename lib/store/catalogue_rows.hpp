// How the catalogue's files turn records into rows and back; for catalogue*.cpp alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/sqlite.hpp"
#include "store/catalogue.hpp"

namespace plydisk::rows {

inline void bind_one(Statement& statement, int index, std::int64_t value) {
  statement.bind(index, value);
}
inline void bind_one(Statement& statement, int index, std::string_view value) {
  statement.bind(index, value);
}
inline void bind_one(Statement& statement, int index, Destination value) {
  statement.bind(index, std::string_view(to_string(value)));
}
inline void bind_one(Statement& statement, int index, const WritePlan& value) {
  statement.bind(index, std::string_view(to_string(value)));
}
template <typename T>
void bind_one(Statement& statement, int index, const std::optional<T>& value) {
  value ? bind_one(statement, index, *value) : static_cast<void>(statement.bind_null(index));
}
// Integers of all widths; the catalogue's sizes are checked to fit.
template <typename T>
requires std::is_integral_v<T>
void bind_one(Statement& statement, int index, T value) {
  statement.bind(index, static_cast<std::int64_t>(value));
}

// A statement with its parameters bound, in order.
template <typename... Values>
Statement prepare(Database& db, std::string_view sql, const Values&... values) {
  Statement statement(db, sql);
  int index = 0;
  (bind_one(statement, ++index, values), ...);
  return statement;
}

// Runs a statement that gives no rows; returns how many rows it changed.
template <typename... Values>
int run(Database& db, std::string_view sql, const Values&... values) {
  prepare(db, sql, values...).run();
  return sqlite3_changes(db.handle());
}

template <typename... Values>
bool exists(Database& db, std::string_view sql, const Values&... values) {
  return prepare(db, sql, values...).step();
}

inline std::optional<std::string> null_if_empty(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

// Free text from users: UTF-8 with no control characters but newline and tab, at most 4096 bytes.
// Throws Error(EINVAL); `what` is as in "the comment".
void require_text(std::string_view what, std::string_view text);
// A disk's size: a multiple of 512, more than 0, at most 2^62.
void require_disk_size(std::uint64_t size);
[[noreturn]] void no_such_station(Database& db, const std::string& name);
[[noreturn]] void no_such_image(Database& db, const std::string& name);
void require_image(Database& db, const std::string& name);
void require_version(Database& db, const std::string& image, unsigned number);

inline constexpr const char* select_layers =
    "SELECT uuid, image, parent, session, position, destination, kind, state, size, created, "
    "passed_to_image, passed_to_layers FROM layer ";
LayerRecord read_layer(const Statement& row);
// Inserts the layer; EEXIST if there is one with its uuid.
void insert_layer(Database& db, const LayerRecord& layer);
// Throws Error(EINVAL) for a layer that is not one of `image`.
void require_layer_of(const LayerRecord& layer, const std::string& image);
// Parents are known once all layers of a change are in: call it before the commit.
void require_parents(Database& db, const std::vector<LayerRecord>& layers);

}  // namespace plydisk::rows
