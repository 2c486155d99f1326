// How values look on a terminal: sizes, times, tables, a progress bar. Nothing here prints
// control characters that came from elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace plydisk {

// "10G", "1.5T", "512" (bytes below 1 KiB have no letter).
std::string format_size(std::uint64_t bytes);
// The same of a record's number.
std::string size_text(const nlohmann::json& bytes);
// Bytes from "10G", "512M", "1T", "4096"; letters K M G T P, powers of 1024, either case. Throws
// Error(EINVAL) unless it is a multiple of 512, more than 0 and at most 2^62.
std::uint64_t parse_disk_size(std::string_view text);
// "2025-01-31 12:00:00" from the ISO 8601 time of a record; "never" for null.
std::string format_time(const nlohmann::json& time);
// "0:07", "12:30", "1:02:03".
std::string format_duration(std::uint64_t seconds);
// Text with each control character as "?", and "-" for null or nothing.
std::string printable(const nlohmann::json& text);
std::string printable(std::string_view text);

// Thread safety: one thread.
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns);
  // As many cells as there are columns; they must be printable.
  void add(std::vector<std::string> cells);
  // Columns two spaces apart, no spaces at the end of lines. The title row is left out when all
  // titles are empty.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// How fast work goes: over the last seconds, so that it is right after a pause too, and for work
// that begins somewhere in the middle. Thread safety: one thread.
class Rate {
 public:
  void add(std::uint64_t done, double seconds);
  // Bytes a second; 0 if that is not known yet.
  double value() const;

 private:
  struct Sample {
    std::uint64_t done;  // bytes
    double seconds;
  };
  std::deque<Sample> samples_;
};

// One line such as " 45% [#########           ] 4.5G of 10G, 210M/s, 0:27 left".
// `rate` is bytes a second.
std::string format_progress(std::uint64_t done, std::uint64_t total, double rate);

// Draws on standard error while work is under way, if that is a terminal; wiped when it ends.
// Thread safety: one thread.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  // Another part of the work begins, which stands before the bar; "" as long as there is only one.
  void begin(const std::string& part);
  void show(std::uint64_t done, std::uint64_t total);
  // For other output.
  void wipe();

 private:
  using Clock = std::chrono::steady_clock;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point began_, last_;
  std::string part_;
  Rate rate_;
};

}  // namespace plydisk
