#include "netboot/tgt.hpp"
#include "test_support.hpp"

namespace plydisk {

using test::error_of;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("tgt: names that iPXE and the system know") {
  CHECK(iscsi_target_name("debian", "pc07") == "iqn.2026-11.io.plydisk:debian:pc07");
  CHECK(iscsi_uri("192.0.2.1", "debian", "pc07") ==
        "iscsi:192.0.2.1:::1:iqn.2026-11.io.plydisk:debian:pc07");
}

TEST_CASE("tgt: a target for each station") {
  NetbootPlan plan;
  plan.stations = {{"pc07", "debian"}, {"pc08", "win-10"}, {"pc09", "debian"}, {"pc10", ""}};
  plan.stations[1].allow = {"192.0.2.8", "2001:db8::/32"};
  plan.stations[2].has_secret = true;
  const std::string text = tgt_conf(plan, "/mnt/plydisk");
  CHECK(has(text,
            "\n<target iqn.2026-11.io.plydisk:debian:pc07>\n"
            "  <backing-store /mnt/plydisk/stations/pc07/disk>\n"
            "    lun 1\n"
            "    bs-type rdwr\n"
            "    write-cache off\n"
            "  </backing-store>\n"
            "</target>\n"));
  CHECK(has(text,
            "  </backing-store>\n"
            "  initiator-address 192.0.2.8\n"
            "  initiator-address 2001:db8::/32\n"
            "</target>\n"));
  CHECK(has(text, "# pc09 has a secret"));
  CHECK_FALSE(has(text, "debian:pc09"));
  CHECK_FALSE(has(text, "pc10"));
}

TEST_CASE("tgt: folders that would be read as something else are refused") {
  for (const char* mount : {"mnt", "", "/mnt/ply disk", "/mnt#1", "/mnt/<x>", "/mnt\n"})
    CHECK(error_of([&] { tgt_conf({}, mount); }).code() == EINVAL);
  CHECK(error_of([&] { tgt_conf({}, "/srv/plydisk-1.0/mnt_ü"); }).code() == 0);
}

}  // namespace plydisk
