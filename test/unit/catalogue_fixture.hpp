// A catalogue with an image and a station, and records to put into it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/uuid.hpp"
#include "store/catalogue.hpp"
#include "test_support.hpp"

namespace plydisk::test {

inline ImageRecord image_record(const std::string& name) {
  ImageRecord image;
  image.name = name;
  image.size = 1 << 20;
  image.backing = "images/" + name + "/disk";
  image.created = 1000;
  return image;
}

inline LayerRecord layer_record(const std::string& image, const std::string& session, int position,
                                const std::string& parent = "") {
  LayerRecord layer;
  layer.uuid = random_uuid();
  layer.image = image;
  layer.session = session;
  layer.position = position;
  layer.parent = parent;
  layer.kind = "data";
  layer.state = "writing";
  layer.size = 1 << 20;
  layer.created = 1000;
  return layer;
}

inline SessionRecord session_record(const std::string& id, const std::string& station,
                                    const std::string& image) {
  SessionRecord session;
  session.id = id;
  session.station = station;
  session.image = image;
  session.peer = "unix";
  session.boot = "boot";
  session.started = 1000;
  return session;
}

inline StationRecord station_record(const std::string& name) {
  StationRecord station;
  station.name = name;
  station.created = 1000;
  return station;
}

inline std::vector<std::string> uuids(const std::vector<LayerRecord>& layers) {
  std::vector<std::string> result;
  for (const LayerRecord& layer : layers) result.push_back(layer.uuid);
  return result;
}

// A store with an image "debian" and a station "pc07".
struct CatalogueFixture {
  CatalogueFixture() {
    Catalogue::create(directory.path());
    catalogue.emplace(directory.path());
    catalogue->add_image(image_record("debian"));
    catalogue->add_station(station_record("pc07"));
  }
  void reopen() {
    catalogue.reset();
    catalogue.emplace(directory.path());
  }
  // Behind the catalogue's back.
  void edit(const char* sql) {
    catalogue.reset();
    Database db = Database::open(file(), Database::Mode::read_write);
    db.exec(sql);
  }
  Error open_error() {
    catalogue.reset();
    return error_of([&] { Catalogue opened(directory.path()); });
  }
  std::filesystem::path file() const { return directory.path() / "catalogue.sqlite"; }

  TemporaryDirectory directory;
  std::optional<Catalogue> catalogue;
};

}  // namespace plydisk::test
