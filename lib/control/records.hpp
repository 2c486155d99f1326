// Records of the store as JSON, with the names of the admin mount.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "store/parameters.hpp"
#include "store/store.hpp"

namespace plydisk {

// "2025-01-31T12:00:00Z"; null for 0, which stands for "not yet".
nlohmann::json time_json(std::int64_t seconds);

nlohmann::json version_json(Store& store, const VersionRecord& version);
nlohmann::json image_json(Store& store, const ImageStatus& image);
// "plan", and with it "persistence", is where the station's writes go when nothing else is said:
// its own destination, else its image's, else the parameter default-writes.
nlohmann::json station_json(Catalogue& catalogue, const StationRecord& station);
nlohmann::json session_json(const SessionStatus& session);
nlohmann::json history_json(Catalogue& catalogue, const std::string& session);
nlohmann::json layer_json(const LayerStatus& layer);
nlohmann::json event_json(const Event& event);
nlohmann::json parameter_json(Catalogue& catalogue, const ParameterSpec& spec);
// As the image has it, with the store's value as the default.
nlohmann::json image_parameter_json(Catalogue& catalogue, const ParameterSpec& spec,
                                    const std::string& image);

}  // namespace plydisk
