#include "output.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <utility>

#include "base/error.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr std::string_view size_letters = "KMGTPE";

// Characters on the terminal, taking each code point for one.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

std::string size_text(const nlohmann::json& bytes) {
  return format_size(bytes.get<std::uint64_t>());
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes);
  double value = static_cast<double>(bytes);
  std::size_t letter = 0;
  // 1023.95 would be shown as 1024.0.
  for (value /= 1024; value >= 1023.95 && letter + 1 < size_letters.size(); ++letter) value /= 1024;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  std::string result = text.data();
  if (result.ends_with(".0")) result.resize(result.size() - 2);
  return result + size_letters[letter];
}

std::uint64_t parse_disk_size(std::string_view text) {
  constexpr std::uint64_t largest = std::uint64_t{1} << 62;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  unsigned shift = 0;
  bool valid = error == std::errc() && end != text.data() && unit.size() <= 1;
  if (valid && unit.size() == 1) {
    const char upper = unit[0] >= 'a' && unit[0] <= 'z' ? static_cast<char>(unit[0] - 32) : unit[0];
    const auto letter = size_letters.find(upper);
    valid = letter != std::string_view::npos;
    if (valid) shift = 10 * (static_cast<unsigned>(letter) + 1);
  }
  if (!valid)
    throw Error(EINVAL, "the size " + quote(text) +
                            " is not valid: use a number of bytes, or one with K, M, G, T or P, "
                            "such as 10G");
  if (value == 0 || value > largest >> shift || (value << shift) % 512 != 0)
    throw Error(EINVAL, "a disk cannot have the size " + quote(text) +
                            ": use a multiple of 512 bytes, more than 0 and at most 2^62");
  return value << shift;
}

std::string format_time(const json& time) {
  if (!time.is_string()) return "never";
  std::string text = printable(time);
  std::replace(text.begin(), text.end(), 'T', ' ');
  if (text.ends_with('Z')) text.pop_back();
  return text;
}

std::string format_duration(std::uint64_t seconds) {
  std::array<char, 48> text{};
  const auto hours = static_cast<unsigned long long>(seconds / 3600);
  const auto minutes = static_cast<unsigned>(seconds / 60 % 60);
  const auto rest = static_cast<unsigned>(seconds % 60);
  if (hours > 0) {
    std::snprintf(text.data(), text.size(), "%llu:%02u:%02u", hours, minutes, rest);
  } else {
    std::snprintf(text.data(), text.size(), "%u:%02u", minutes, rest);
  }
  return text.data();
}

std::string printable(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // The controls past ASCII, U+0080 to U+009F, work as escape sequences on some terminals.
    const bool is_high_control =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || is_high_control) {
      result += '?';
      i += is_high_control;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::string printable(const json& text) {
  if (text.is_null()) return "-";
  if (!text.is_string()) return text.dump();
  const auto& value = text.get_ref<const std::string&>();
  return value.empty() ? "-" : printable(std::string_view(value));
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::text() const {
  std::vector<std::string> titles;
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    widths.push_back(width_of(column.title));
  }
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string text;
  const auto add_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += columns_[i].align == Align::right ? padding + row[i] : row[i] + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  if (std::any_of(titles.begin(), titles.end(), [](const auto& title) { return !title.empty(); }))
    add_row(titles);
  for (const auto& row : rows_) add_row(row);
  return text;
}

void Rate::add(std::uint64_t done, double seconds) {
  constexpr double window = 10, between = 0.1;  // seconds
  if (!samples_.empty() && done < samples_.back().done) samples_.clear();
  while (samples_.size() > 2 && samples_[1].seconds < seconds - window) samples_.pop_front();
  // The newest sample is always the last one.
  if (samples_.size() > 1 &&
      samples_.back().seconds - samples_[samples_.size() - 2].seconds < between)
    samples_.pop_back();
  samples_.push_back({done, seconds});
}

double Rate::value() const {
  if (samples_.size() < 2) return 0;
  const double seconds = samples_.back().seconds - samples_.front().seconds;
  return seconds > 0 ? static_cast<double>(samples_.back().done - samples_.front().done) / seconds
                     : 0;
}

std::string format_progress(std::uint64_t done, std::uint64_t total, double rate) {
  constexpr unsigned bar_width = 20;
  const std::string rate_text = format_size(static_cast<std::uint64_t>(rate)) + "/s";
  if (total == 0) return format_size(done) + ", " + rate_text;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  std::array<char, 8> percent{};
  std::snprintf(percent.data(), percent.size(), "%3u%%", static_cast<unsigned>(part * 100));
  const auto filled = static_cast<unsigned>(part * bar_width);
  std::string line = percent.data();
  line += " [" + std::string(filled, '#') + std::string(bar_width - filled, ' ') + "] ";
  line += format_size(done) + " of " + format_size(total) + ", " + rate_text;
  if (rate > 0 && done < total)
    line += ", " +
            format_duration(static_cast<std::uint64_t>(static_cast<double>(total - done) / rate)) +
            " left";
  return line;
}

ProgressBar::ProgressBar() : visible_(::isatty(STDERR_FILENO) == 1), began_(Clock::now()) {}

ProgressBar::~ProgressBar() { wipe(); }

void ProgressBar::wipe() {
  if (std::exchange(drawn_, false)) std::fputs("\r\033[K", stderr);
}

void ProgressBar::begin(const std::string& part) {
  wipe();
  part_ = part;
  rate_ = {};
  last_ = {};
  if (!visible_) return;
  std::fprintf(stderr, "%s …", part_.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  constexpr auto between_draws = std::chrono::milliseconds(100);
  const auto now = Clock::now();
  if (!visible_ || now - last_ < between_draws) return;
  last_ = now;
  drawn_ = true;
  rate_.add(done, std::chrono::duration<double>(now - began_).count());
  std::fprintf(stderr, "\r%s%s\033[K", part_.empty() ? "" : (part_ + ": ").c_str(),
               format_progress(done, total, rate_.value()).c_str());
  std::fflush(stderr);
}

}  // namespace plydisk
