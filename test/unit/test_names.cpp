#include "store/names.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;
using test::mentions;

TEST_CASE("names: one grammar") {
  for (const char* good : {"a", "7", "debian-12", "pc_07.lab", "A.b-c_d", "a.", "a-"})
    CHECK_MESSAGE(is_valid_name(good), good);
  CHECK(is_valid_name(std::string(64, 'x')));
  for (const char* bad : {"", ".", "..", "a..b", ".a", "-a", "_a", "a/b", "/", "a b", "a\n",
                          "a\x01", "a:b", "a@b", "a+b", "ä", "a\x7f", "a\"", "a*"})
    CHECK_MESSAGE(!is_valid_name(bad), bad);
  CHECK_FALSE(is_valid_name(std::string(65, 'x')));
  CHECK_FALSE(is_valid_name(std::string_view("a\0b", 3)));
}

TEST_CASE("names: a refusal shows the name, harmless and short") {
  const Error error =
      error_of([] { require_valid_name("image", "a\n\x1b[2Jb/\"" + std::string(500, 'z')); });
  CHECK(error.code() == EINVAL);
  CHECK(mentions(error, "the image name"));
  CHECK(mentions(error, "a\\x0a\\x1b[2Jb/\\\""));
  CHECK(std::string(error.what()).size() < 300);
}

TEST_CASE("names: suggestions") {
  CHECK(suggestion("debain", {"arch", "debian", "windows"}) == "; did you mean \"debian\"?");
  CHECK(suggestion("zzz", {"arch", "debian"}) == "; there are: \"arch\", \"debian\"");
  CHECK(suggestion("zzz", {}).empty());
  CHECK(suggestion("x", {"aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"}).ends_with(", …"));
  CHECK_FALSE(suggestion(std::string(1 << 20, 'q'), {"debian"}).empty());
}

TEST_CASE("export names: parsed and printed alike") {
  for (const char* text : {"", "debian", "debian:3", "debian@pc07", "debian:3@pc07",
                           "debian@pc07+tok.1", "debian:42@pc07+t", "@pc07", "@pc07+t"})
    CHECK(to_string(parse_export_name(text)) == text);
  const ExportName name = parse_export_name("debian:3@pc07+boot-1");
  CHECK(name.image == "debian");
  CHECK(name.version == 3);
  CHECK(name.station == "pc07");
  CHECK(name.session == "boot-1");
  CHECK_FALSE(name.epoch);
  const ExportName second = parse_export_name("debian@pc07+0123abcd.77");
  CHECK(second.session == "0123abcd");
  CHECK(second.epoch == 77);
  CHECK(to_string(second) == "debian@pc07+0123abcd.77");
  CHECK_FALSE(second.resumes);
  const ExportName third = parse_export_name("debian@pc07+0123abcd.77.r");
  CHECK(third.session == "0123abcd");
  CHECK(third.epoch == 77);
  CHECK(third.resumes);
  CHECK(to_string(third) == "debian@pc07+0123abcd.77.r");
  CHECK_FALSE(parse_export_name("@pc+a.r").resumes);
  for (const char* token : {"a.b", "a.07", "a.1x", "a.99999999999999999999"}) {
    CHECK(parse_export_name("@pc+" + std::string(token)).session == token);
    CHECK_FALSE(parse_export_name("@pc+" + std::string(token)).epoch);
  }
  CHECK(parse_export_name("@pc07").image.empty());
  CHECK_FALSE(parse_export_name("debian").version);
  CHECK_FALSE(parse_export_name("debian").station);
}

TEST_CASE("export names: what is hostile is refused") {
  for (const char* bad : {":",        ":1",
                          "a:",       "a:0",
                          "a:-1",     "a:01",
                          "a:1x",     "a:4294967296",
                          "a: 1",     "a:1:2",
                          "a@",       "a@b+",
                          "a@b@c",    "a@b+c+d",
                          "a+b",      "@",
                          "@+",       "../a",
                          "a/../b",   "a@../b",
                          "a@b+../c", "/a",
                          "a b",      "a\n",
                          "a@b c",    ".control@pc07+x"})
    CHECK_MESSAGE(error_of([&] { parse_export_name(bad); }).code() == EINVAL, bad);
  CHECK(error_of([] { parse_export_name(std::string_view("a\0b", 3)); }).code() == EINVAL);
  CHECK(error_of([] { parse_export_name(std::string(4096, 'a')); }).code() == EINVAL);
}

TEST_CASE("networks: what is valid") {
  for (const char* good : {"10.0.0.7", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.7/32", "::1", "::/0",
                           "fd00::/64", "fe80::1/128", "::ffff:10.0.0.7", "::ffff:10.0.0.0/104"})
    CHECK_MESSAGE(error_of([&] { require_valid_cidr(good); }).code() == 0, good);
  for (const char* bad : {"", "/", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/-1",
                          "10.0.0.0/", "10.0.0.0/8x", "10.0.0.0/ 8", "::/129", "fe80::1%eth0",
                          "localhost", "g::", " 10.0.0.1", "10.0.0.1 ", "10.0.0.0/8/8"})
    CHECK_MESSAGE(error_of([&] { require_valid_cidr(bad); }).code() == EINVAL, bad);
  CHECK(error_of([] { require_valid_cidr(std::string(300, '1')); }).code() == EINVAL);
}

TEST_CASE("networks: what lies inside") {
  CHECK(cidr_contains("10.0.0.0/8", "10.255.1.2"));
  CHECK_FALSE(cidr_contains("10.0.0.0/8", "11.0.0.1"));
  CHECK(cidr_contains("10.0.0.5/24", "10.0.0.200"));
  CHECK(cidr_contains("192.168.1.128/25", "192.168.1.129"));
  CHECK_FALSE(cidr_contains("192.168.1.128/25", "192.168.1.127"));
  CHECK(cidr_contains("10.0.0.7", "10.0.0.7"));
  CHECK_FALSE(cidr_contains("10.0.0.7", "10.0.0.8"));
  CHECK(cidr_contains("0.0.0.0/0", "1.2.3.4"));
  CHECK(cidr_contains("fd00::/63", "fd00:0:0:1::9"));
  CHECK_FALSE(cidr_contains("fd00::/64", "fd00:0:0:1::9"));
  CHECK(cidr_contains("fe80::/10", "fe80::1%eth0"));

  // One address, written in either family.
  CHECK(cidr_contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  CHECK(cidr_contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  CHECK_FALSE(cidr_contains("::/0", "10.1.2.3"));
  CHECK_FALSE(cidr_contains("0.0.0.0/0", "fd00::1"));

  for (const char* none : {"unix", "", "10.0.0", "10.0.0.1/8"})
    CHECK_FALSE(cidr_contains("0.0.0.0/0", none));
}

TEST_CASE("networks: one address alone") {
  CHECK(cidr_is_host("10.0.0.7"));
  CHECK(cidr_is_host("10.0.0.7/32"));
  CHECK(cidr_is_host("::1"));
  CHECK(cidr_is_host("::1/128"));
  CHECK(cidr_is_host("::ffff:10.0.0.7/128"));
  CHECK_FALSE(cidr_is_host("10.0.0.7/31"));
  CHECK_FALSE(cidr_is_host("fd00::/64"));
}

}  // namespace plydisk
