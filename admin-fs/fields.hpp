// The files with one value each: what they are called, how the value is read from what the server
// tells, and what a new one asks of it.
#pragma once

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

namespace plydisk {

// A method of the server, with its parameters.
struct Request {
  std::string method;
  nlohmann::json params;
};

struct Field {
  const char* name;  // which get and set are given again
  mode_t mode;
  // The text of the file without its last newline. `thing`: what the server tells of the image,
  // station, … that the file is of.
  std::string (*get)(const nlohmann::json& thing, const char* name);
  // None: nothing is to be done. `text`: without the last newline. Throws Error(EINVAL). Null: the
  // file can't be written.
  std::optional<Request> (*set)(const nlohmann::json& thing, const char* name,
                                const std::string& text) = nullptr;
  // Whether an empty text is a value, which clears it.
  bool clearable = false;
  // Whether the value may have several lines, of which each is checked by itself; null: one line.
  void (*check_line)(const std::string& line) = nullptr;
};

std::span<const Field> parameter_fields();  // one: the parameter itself
std::span<const Field> image_fields();
std::span<const Field> version_fields();  // of {"version", "size", "parent"}, see tree.cpp
std::span<const Field> station_fields();
std::span<const Field> session_fields();
std::span<const Field> layer_fields();
// Null if there is none of this name.
const Field* find_field(std::span<const Field> fields, const std::string& name);

// "name    value" lines, of one width each as long as the values do not grow very large: so that a
// file keeps its size while it is read.
std::string table_text(const nlohmann::json& object);

}  // namespace plydisk
