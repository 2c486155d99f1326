#include "output.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;

TEST_CASE("sizes: printed") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(512) == "512");
  CHECK(format_size(1024) == "1K");
  CHECK(format_size(1536) == "1.5K");
  CHECK(format_size(10ULL << 30) == "10G");
  CHECK(format_size((1ULL << 30) - 1) == "1G");
  CHECK(format_size((1ULL << 20) - 512) == "1023.5K");
  CHECK(format_size(1ULL << 62) == "4E");
  CHECK(format_size(~0ULL) == "16E");
}

TEST_CASE("sizes: read") {
  CHECK(parse_disk_size("512") == 512);
  CHECK(parse_disk_size("4096") == 4096);
  CHECK(parse_disk_size("1K") == 1024);
  CHECK(parse_disk_size("512M") == 512ULL << 20);
  CHECK(parse_disk_size("10G") == 10ULL << 30);
  CHECK(parse_disk_size("10g") == 10ULL << 30);
  CHECK(parse_disk_size("1T") == 1ULL << 40);
  CHECK(parse_disk_size("4096P") == 1ULL << 62);
  CHECK(parse_disk_size("4E") == 1ULL << 62);
  for (const char* bad :
       {"", "0", "0G", "511", "513", "-1", "+512", "10X", "10GB", "1.5G", "G", " 10G", "10 G",
        "10G ", "0x200", "4097P", "5E", "18446744073709551616", "9999999999999T"})
    CHECK_MESSAGE(error_of([&] { parse_disk_size(bad); }).code() == EINVAL, bad);
}

TEST_CASE("times") {
  CHECK(format_time(nullptr) == "never");
  CHECK(format_time("2025-01-31T12:00:00Z") == "2025-01-31 12:00:00");
  CHECK(format_duration(7) == "0:07");
  CHECK(format_duration(750) == "12:30");
  CHECK(format_duration(3723) == "1:02:03");
}

TEST_CASE("text from elsewhere is harmless on a terminal") {
  CHECK(printable(nlohmann::json(nullptr)) == "-");
  CHECK(printable(nlohmann::json("")) == "-");
  CHECK(printable(nlohmann::json(12)) == "12");
  CHECK(printable(std::string_view("a\x1b[31mb\nc\x7f")) == "a?[31mb?c?");
  CHECK(printable(std::string_view("\xc2\x9b"
                                   "31m")) == "?31m");
  CHECK(printable(std::string_view("Bücher …")) == "Bücher …");
}

TEST_CASE("tables: aligned by characters, no trailing spaces") {
  Table table({{"NAME"}, {"SIZE", Table::Align::right}, {"NOTE"}});
  table.add({"bücher", "10G", "x"});
  table.add({"a", "512M", ""});
  CHECK(table.text() ==
        "NAME    SIZE  NOTE\n"
        "bücher   10G  x\n"
        "a       512M\n");
  Table untitled({{}, {}});
  untitled.add({"name", "debian"});
  untitled.add({"description", "x"});
  CHECK(untitled.text() == "name         debian\ndescription  x\n");
}

TEST_CASE("progress") {
  CHECK(format_progress(0, 1024, 0) == "  0% [                    ] 0 of 1K, 0/s");
  CHECK(format_progress(512ULL << 20, 1ULL << 30, 128 << 20) ==
        " 50% [##########          ] 512M of 1G, 128M/s, 0:04 left");
  CHECK(format_progress(1024, 1024, 1024) == "100% [####################] 1K of 1K, 1K/s");
  CHECK(format_progress(4096, 1024, 4096).starts_with("100% [####################]"));
  CHECK(format_progress(2048, 0, 2048) == "2K, 2K/s");
}

TEST_CASE("progress: the rate is that of the last seconds") {
  Rate rate;
  CHECK(rate.value() == 0);
  // What was done before does not count.
  rate.add(1 << 30, 100);
  CHECK(rate.value() == 0);
  for (int second = 1; second <= 20; ++second) rate.add((1U << 30) + 1000U * second, 100 + second);
  CHECK(rate.value() == doctest::Approx(1000));
  for (int second = 21; second <= 40; ++second) rate.add((1U << 30) + 20000U, 100 + second);
  CHECK(rate.value() == 0);
  // Another part of the work.
  rate.add(0, 141);
  rate.add(500, 142);
  CHECK(rate.value() == doctest::Approx(500));
}

}  // namespace plydisk
