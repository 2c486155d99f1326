#include "backing/nbd_uri.hpp"
#include "test_support.hpp"

namespace plydisk {

TEST_CASE("NBD URIs: the export's name, read and replaced") {
  struct {
    const char *uri, *name, *other;
  } const cases[] = {
      {"nbd://server", "", "nbd://server/x@y"},
      {"nbd://server:10809/", "", "nbd://server:10809/x@y"},
      {"nbd://server/debian:3", "debian:3", "nbd://server/x@y"},
      {"nbd+unix:///debian?socket=/run/a/b.sock", "debian", "nbd+unix:///x@y?socket=/run/a/b.sock"},
      {"nbd+unix://?socket=/run/b.sock", "", "nbd+unix:///x@y?socket=/run/b.sock"},
      {"nbds://pc07@server/debian?tls-psk-file=/etc/keys", "debian",
       "nbds://pc07@server/x@y?tls-psk-file=/etc/keys"},
  };
  for (const auto& [uri, name, other] : cases) {
    CHECK(is_nbd_uri(uri));
    CHECK(export_of(uri) == name);
    CHECK(with_export(uri, "x@y") == other);
  }
  for (const char* text : {"", "/dev/sda", "http://server/disk", "nbd:server"})
    CHECK_FALSE(is_nbd_uri(text));
}

}  // namespace plydisk
