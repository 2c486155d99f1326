// How values of the server's JSON stand in files, and are read from them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace plydisk {

// Null is an empty text, booleans are yes and no.
std::string text_of(const nlohmann::json& value);
// The member of that name; or a list, one item a line.
std::string member(const nlohmann::json& thing, const char* name);
std::string lines(const nlohmann::json& thing, const char* name);
nlohmann::json null_if_empty(const std::string& text);

// What stands between blanks and commas.
std::vector<std::string> words_of(std::string text);
// Throws Error(EINVAL) for control characters. As the check of a field.
void check_text(const nlohmann::json& thing, const std::string& line);

// "name    value" lines, of one width each as long as the values do not grow very large: so that a
// file keeps its size while it is read. Lists have a line for each item, at most 1000.
std::string table_text(const nlohmann::json& object);

}  // namespace plydisk
