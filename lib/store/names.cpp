#include "store/names.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

constexpr std::size_t longest_name = 64;
constexpr std::size_t longest_quote = 80;
constexpr std::string_view resume_suffix = ".r";

// By hand, since the C library's functions follow the locale.
constexpr bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Levenshtein's distance, in characters to insert, remove or replace.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string join_quotes(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + quote(name);
  return text;
}

// The number behind the last dot, which is cut off with it; none if there is no such thing.
std::optional<std::uint64_t> cut_epoch(std::string_view& session) {
  const auto dot = session.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return std::nullopt;
  const std::string_view digits = session.substr(dot + 1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      std::to_string(number) != digits)
    return std::nullopt;
  session = session.substr(0, dot);
  return number;
}

unsigned parse_version(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0 || text[0] == '0')
    throw Error(EINVAL, "the version " + quote(text) +
                            " in the export name is not valid: use a number from 1");
  return number;
}

}  // namespace

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text.substr(0, longest_quote)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += {'\\', 'x', "0123456789abcdef"[byte >> 4U], "0123456789abcdef"[byte & 15U]};
    }
  }
  return result + (text.size() > longest_quote ? "…\"" : "\"");
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr std::size_t most = 5;
  const std::string_view compared = name.substr(0, longest_name);
  std::vector<std::string> near;
  std::size_t nearest = std::max<std::size_t>(compared.size() / 2, 1);
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(compared, candidate);
    if (distance < nearest) near.clear();
    if (distance <= nearest && near.size() < most) near.push_back(candidate);
    nearest = std::min(nearest, distance);
  }
  if (!near.empty()) return "; did you mean " + join_quotes(near) + "?";
  if (candidates.empty()) return "";
  const bool all = candidates.size() <= most;
  return "; there are: " +
         join_quotes({candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                   candidates.size(), most))}) +
         (all ? "" : ", …");
}

bool is_valid_name(std::string_view name) {
  return !name.empty() && name.size() <= longest_name && is_letter_or_digit(name.front()) &&
         name.find("..") == std::string_view::npos &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-';
         });
}

void require_valid_name(std::string_view what, std::string_view name) {
  if (is_valid_name(name)) return;
  throw Error(EINVAL, "the " + std::string(what) + " name " + quote(name) +
                          " is not valid: use 1 to 64 letters, digits, \".\", \"_\" and \"-\", "
                          "beginning with a letter or a digit, without \"..\"");
}

ExportName parse_export_name(std::string_view text) {
  ExportName name;
  std::string_view image = text;
  if (const auto at = text.find('@'); at != std::string_view::npos) {
    image = text.substr(0, at);
    std::string_view station = text.substr(at + 1);
    if (const auto plus = station.find('+'); plus != std::string_view::npos) {
      std::string_view session = station.substr(plus + 1);
      require_valid_name("session", session);
      std::string_view first = session;
      if (first.ends_with(resume_suffix)) first.remove_suffix(resume_suffix.size());
      name.epoch = cut_epoch(first);
      if (name.epoch) {
        name.resumes = session.ends_with(resume_suffix);
        session = first;
      }
      name.session = session;
      station = station.substr(0, plus);
    }
    require_valid_name("station", station);
    name.station = station;
  }
  if (const auto colon = image.find(':'); colon != std::string_view::npos) {
    name.version = parse_version(image.substr(colon + 1));
    image = image.substr(0, colon);
    require_valid_name("image", image);
  }
  if (!image.empty()) require_valid_name("image", image);
  name.image = image;
  return name;
}

std::string to_string(const ExportName& name) {
  std::string text = name.image;
  if (name.version) text += ":" + std::to_string(*name.version);
  if (name.station) text += "@" + *name.station;
  if (name.session) text += "+" + *name.session;
  if (name.epoch) text += "." + std::to_string(*name.epoch);
  if (name.resumes) text += resume_suffix;
  return text;
}

}  // namespace plydisk
