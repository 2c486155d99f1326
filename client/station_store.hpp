// What a disk needs before its engine starts: what the server says of it, and the station's store.
#pragma once

#include <string>

#include "attach.hpp"
#include "attached_disk.hpp"
#include "store/foundation.hpp"

namespace plydisk {

// What lies at the bottom of the disk.
struct Origin {
  std::string uri;   // or a path, as the record has it
  std::string uuid;  // of a plydisk server's image
  std::string plan;
  Foundation foundation{};
  bool on_station = false;  // as in Greeting
};

// Asks the server what it has for this station, and writes that into the disk's record. Throws
// Error with its refusal. For a file there is nobody to ask.
Origin greet_server(AttachedDisk& disk, const AttachOptions& options);
// Makes the station's store, or finds it in order: EUCLEAN for layers that do not fit the server's.
void prepare_store(const AttachedDisk& disk, const Origin& origin, const AttachOptions& given);

}  // namespace plydisk
