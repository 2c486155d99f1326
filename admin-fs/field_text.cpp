#include "field_text.hpp"

#include <algorithm>
#include <sstream>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr std::size_t name_width = 20, number_width = 20;  // characters
constexpr std::size_t most_items = 1000;                   // of one list

void add_line(const std::string& name, const std::string& value, std::string& text) {
  std::string line = name;
  line.resize(std::max(name_width, name.size() + 1), ' ');
  text += (text.empty() ? "" : "\n") + line + value;
}

// Items that have parts themselves are one line each.
std::string item_text(const json& item) {
  if (!item.is_structured()) return text_of(item);
  std::string text;
  for (const auto& [key, part] : item.items())
    text += (text.empty() ? "" : " ") + (item.is_object() ? key + "=" : "") + text_of(part);
  return text;
}

void add_to_table(const std::string& name, const json& value, std::string& text) {
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      add_to_table(name.empty() ? key : name + "." + key, item, text);
    return;
  }
  if (value.is_array()) {
    if (value.empty()) add_line(name, "", text);
    for (std::size_t i = 0; i < std::min(value.size(), most_items); ++i)
      add_line(name, item_text(value[i]), text);
    if (value.size() > most_items)
      add_line(name, "and " + std::to_string(value.size() - most_items) + " more", text);
    return;
  }
  std::string shown = text_of(value);
  if (value.is_number() && shown.size() < number_width)
    shown.insert(0, number_width - shown.size(), ' ');
  add_line(name, shown, text);
}

}  // namespace

std::string text_of(const json& value) {
  if (value.is_null()) return "";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string member(const json& thing, const char* name) { return text_of(thing.at(name)); }

std::string lines(const json& thing, const char* name) {
  std::string text;
  for (const json& item : thing.at(name)) text += (text.empty() ? "" : "\n") + text_of(item);
  return text;
}

json null_if_empty(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

std::vector<std::string> words_of(std::string text) {
  std::ranges::replace(text, ',', ' ');
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

void check_text(const json&, const std::string& line) {
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  if (std::ranges::any_of(line, is_control))
    throw Error(EINVAL, quote(line) + " has control characters: use plain text");
}

std::string table_text(const json& object) {
  std::string text;
  add_to_table("", object, text);
  return text;
}

}  // namespace plydisk
