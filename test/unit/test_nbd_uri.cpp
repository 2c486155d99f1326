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

TEST_CASE("NBD URIs: one export in two spellings") {
  struct Case {
    const char *one, *other;
    bool is_same;
  };
  const Case cases[] = {
      {"nbd://server/x", "nbd://server/x", true},
      {"nbd://server/x", "nbds://pc07@SERVER:10809/%78?tls-psk-file=/etc/keys", true},
      {"nbd://localhost", "nbd://127.0.0.1:10809/", true},
      {"nbd://[::1]/x", "nbd://localhost/x", true},
      {"nbd://[fe80::1]:10809/x", "nbd://[fe80::1]/x", true},
      {"nbd://server/x", "nbd://server/y", false},
      {"nbd://server/x", "nbd://server:10810/x", false},
      {"nbd://server/x", "nbd://other/x", false},
      {"nbd://[fe80::1]/x", "nbd://[fe80::2]/x", false},
      {"nbd+unix:///x?socket=/no/a/b", "nbd+unix:///x?tls-verify-peer=0&socket=/no/./a/%62", true},
      {"nbd+unix:///x?socket=/no/a", "nbd+unix:///x?socket=/no/b", false},
      {"nbd+unix:///x%?socket=/no/a%4", "nbd+unix:///x%?socket=/no/a%4", true},
      {"/dev/sda", "/dev/sda", false},
  };
  for (const Case& it : cases) {
    CAPTURE(it.one);
    CHECK(is_same_export(it.one, it.other) == it.is_same);
    CHECK(is_same_export(it.other, it.one) == it.is_same);
  }
}

}  // namespace plydisk
