#include "store/catalogue_rows.hpp"

#include "store/names.hpp"

namespace plydisk::rows {

namespace {

// The bytes that follow a UTF-8 lead byte; -1 for what is none.
int following_bytes(unsigned char lead) {
  if (lead < 0x80) return 0;
  if (lead >= 0xc2 && lead < 0xe0) return 1;
  if (lead >= 0xe0 && lead < 0xf0) return 2;
  if (lead >= 0xf0 && lead < 0xf5) return 3;
  return -1;
}

// Overlong forms, surrogates and what lies past U+10FFFF show in the second byte.
bool is_valid_second_byte(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second < 0xa0;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second < 0x90;
    default:
      return true;
  }
}

bool is_clean_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if ((lead < 0x20 && lead != '\n' && lead != '\t') || lead == 0x7f) return false;
    const int following = following_bytes(lead);
    if (following < 0 || i + static_cast<std::size_t>(following) >= text.size()) return false;
    for (int k = 1; k <= following; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      if (byte < 0x80 || byte >= 0xc0) return false;
      if (k == 1 && !is_valid_second_byte(lead, byte)) return false;
    }
    i += static_cast<std::size_t>(following) + 1;
  }
  return true;
}

std::string short_id(const std::string& uuid) { return "layer " + quote(uuid); }

}  // namespace

void require_text(std::string_view what, std::string_view text) {
  constexpr std::size_t longest = 4096;
  if (text.size() > longest)
    throw Error(EINVAL, std::string(what) + " is longer than 4096 bytes: make it shorter");
  if (!is_clean_utf8(text))
    throw Error(EINVAL, std::string(what) + " " + quote(text) +
                            " has control characters, or is not UTF-8: use plain text");
}

void require_disk_size(std::uint64_t size) {
  if (size == 0 || size % 512 != 0 || size > std::uint64_t{1} << 62)
    throw Error(EINVAL, "a disk cannot have " + std::to_string(size) +
                            " bytes: use a multiple of 512, more than 0 and at most 2^62");
}

void no_such_image(Database& db, const std::string& name) {
  std::vector<std::string> names;
  for (Statement row(db, "SELECT name FROM image ORDER BY name"); row.step();)
    names.push_back(row.text(0));
  throw Error(ENOENT, "there is no image " + quote(name) + suggestion(name, names));
}

void no_such_station(Database& db, const std::string& name) {
  std::vector<std::string> names;
  for (Statement row(db, "SELECT name FROM station ORDER BY name"); row.step();)
    names.push_back(row.text(0));
  throw Error(ENOENT, "there is no station " + quote(name) + suggestion(name, names));
}

void require_image(Database& db, const std::string& name) {
  if (!exists(db, "SELECT 1 FROM image WHERE name = ?", name)) no_such_image(db, name);
}

void require_version(Database& db, const std::string& image, unsigned number) {
  if (exists(db, "SELECT 1 FROM version WHERE image = ? AND number = ?", image, number)) return;
  require_image(db, image);
  throw Error(ENOENT, "the image " + quote(image) + " has no version " + std::to_string(number) +
                          ": \"plydisk image show\" lists those that it has");
}

LayerRecord read_layer(const Statement& row) {
  LayerRecord layer;
  layer.uuid = row.text(0);
  layer.image = row.text(1);
  layer.parent = row.text(2);
  layer.session = row.text(3);
  layer.position = static_cast<int>(row.integer(4));
  layer.destination = parse_destination(row.text(5));
  layer.kind = row.text(6);
  layer.state = row.text(7);
  layer.size = static_cast<std::uint64_t>(row.integer(8));
  layer.created = row.integer(9);
  layer.passed = {row.text(10), row.text(11)};
  return layer;
}

void insert_layer(Database& db, const LayerRecord& layer) {
  require_disk_size(layer.size);
  if (layer.kind != "data" && layer.kind != "pass" && layer.kind != "mixed")
    throw Error(EINVAL, short_id(layer.uuid) + " cannot be of the kind " + quote(layer.kind));
  if (layer.state != "writing" && layer.state != "frozen")
    throw Error(EINVAL, short_id(layer.uuid) + " cannot have the state " + quote(layer.state));
  if (exists(db, "SELECT 1 FROM layer WHERE uuid = ?", layer.uuid))
    throw Error(EEXIST, short_id(layer.uuid) + " is in the catalogue already");
  run(db,
      "INSERT INTO layer(uuid, image, parent, session, position, destination, kind, state, size, "
      "created, passed_to_image, passed_to_layers) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      layer.uuid, layer.image, null_if_empty(layer.parent), null_if_empty(layer.session),
      layer.position, layer.destination, layer.kind, layer.state, layer.size, layer.created,
      layer.passed.to_image, layer.passed.to_layers);
}

void require_layer_of(const LayerRecord& layer, const std::string& image) {
  if (layer.image != image)
    throw Error(EINVAL, short_id(layer.uuid) + " is of the image " + quote(layer.image) +
                            ", not of " + quote(image));
}

void require_parents(Database& db, const std::vector<LayerRecord>& layers) {
  for (const LayerRecord& layer : layers) {
    if (layer.parent.empty()) continue;
    if (!exists(db, "SELECT 1 FROM layer WHERE uuid = ? AND image = ?", layer.parent, layer.image))
      throw Error(EINVAL, short_id(layer.uuid) + " has the parent " + quote(layer.parent) +
                              ", which is not a layer of its image");
  }
}

}  // namespace plydisk::rows
