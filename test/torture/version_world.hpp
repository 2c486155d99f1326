// A small store with images, stations and sessions, and a model of what each version and each
// session reads as. The steps change both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace plydisk::torture {

using Content = std::vector<std::byte>;

// By name: IMAGE:NUMBER of versions, IMAGE@STATION of sessions that have written.
struct VersionModel {
  struct Session {
    Content content;
    bool persistent = false;
  };
  std::map<std::string, Content> versions;
  std::map<std::string, Session> sessions;
  std::set<std::string> unknown;  // paths that no record speaks of
};

class VersionWorld {
 public:
  static constexpr const char* image = "img";
  // Not a whole number of chunks: the last one is partial.
  static constexpr std::uint64_t disk_sectors = 2048 + 7;

  // `flushes`: whether what stations write is flushed.
  VersionWorld(std::filesystem::path folder, std::string boot, bool flushes = true);

  const std::filesystem::path& folder() const { return folder_; }
  Store& store() { return *store_; }
  VersionModel& model() { return model_; }

  // An empty store; open when this returns.
  void make();
  void open();
  void close();
  // What an image is made of: sectors that say so.
  static Content pattern(std::uint64_t generation);
  // The image `image`, whose version 1 has the pattern of generation 1.
  void make_image();
  void add_station(const std::string& name, Destination writes);

  // A station's session begins to write on a version, or goes on.
  void connect(const std::string& station, unsigned version);
  // Overwrites and zeroes some sectors, others with each generation.
  void write(const std::string& station, std::uint64_t generation);
  // What is written from now on goes to another layer.
  void begin_layer(const std::string& station);
  void end(const std::string& station, bool discard = false);

  // A version made of one more layer on top of `base`.
  void add_version(unsigned base, unsigned number, std::uint64_t generation);
  void open_version(unsigned base, unsigned number, const std::string& station);
  void close_version(unsigned number, const std::string& station);
  void merge(unsigned first, unsigned last, const std::vector<unsigned>& gone);

  static std::string key(unsigned number) { return image + (":" + std::to_string(number)); }
  static std::string key(const std::string& station) { return image + ("@" + station); }

 private:
  const std::filesystem::path folder_;
  const std::string boot_;
  const bool flushes_;
  VersionModel model_;
  std::unique_ptr<Store> store_;
  std::map<std::string, std::unique_ptr<Store::Connection>> connections_;
};

// A file or folder made with the observer told of it, for what a user might have put there.
void put_file(const std::filesystem::path& path, const Content& content);

}  // namespace plydisk::torture
