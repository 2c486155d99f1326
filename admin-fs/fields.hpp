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
  // Whether the value may have several lines, which are set together when the file is closed. Each
  // is checked when it is written, so that a shell hears what is wrong with it; null: one line.
  void (*check_line)(const nlohmann::json& thing, const std::string& line) = nullptr;
  // Whether it is no value, but a command: what the server answers is kept as a report, which is
  // what the file has then.
  bool is_command = false;
  // Whether the words of its lines are names of stations, which must be there.
  bool has_stations = false;
};

std::span<const Field> store_fields();      // in the root; of {}
std::span<const Field> parameter_fields();  // one: the parameter itself
std::span<const Field> image_fields();
std::span<const Field> new_image_fields();  // of {"name"}
std::span<const Field> version_fields();    // of the version with {"size", "image_uuid"}
std::span<const Field> station_fields();
std::span<const Field> session_fields();
std::span<const Field> layer_fields();
// Null if there is none of this name.
const Field* find_field(std::span<const Field> fields, const std::string& name);

// For tables of fields.
namespace modes {
inline constexpr mode_t readable = 0444, writable = 0644, secret = 0600;
}
constexpr Field command(const char* name, std::string (*get)(const nlohmann::json&, const char*),
                        std::optional<Request> (*set)(const nlohmann::json&, const char*,
                                                      const std::string&)) {
  return {name, modes::writable, get, set, false, nullptr, true};
}
// Throws Error(EINVAL) if the text is not "now".
void require_now(const char* name, const std::string& text);

}  // namespace plydisk
