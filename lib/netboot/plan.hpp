// What stations boot over the network: all that the files of a boot server are made of. Whoever
// writes one more kind of file for it, takes what it needs from here.
#pragma once

#include <string>
#include <vector>

namespace plydisk {

// An image of the store, and the version that stations boot who have no other one.
struct NetbootImage {
  std::string name, description;
  unsigned version = 0;
  bool has_kernel = false;  // of that version: one that the firmware can load
};

struct NetbootStation {
  std::string name;
  std::string image;               // that it is bound to; empty: none
  unsigned version = 0;            // that it gets of it at its next boot
  bool has_kernel = false;         // of that version
  bool is_published = true;        // whether that version is the image's published one
  std::vector<std::string> allow;  // networks that it may come from; empty: any
  bool has_secret = false;         // which firmware can't show
};

struct NetbootPlan {
  std::string server;    // as in an NBD URI: "192.0.2.1", "192.0.2.1:10810", "[2001:db8::1]"
  std::string host;      // the same without a port
  std::string web;       // the URL of tftp/, without a slash at its end; empty: no web server
  std::string identity;  // the parameter boot-identity
  unsigned timeout = 0;  // of the menu, in seconds; 0: it waits for ever
  std::vector<NetbootImage> images;
  std::vector<NetbootStation> stations;
};

}  // namespace plydisk
