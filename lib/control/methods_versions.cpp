// Versions of images, and the store as a whole.
#include "base/units.hpp"
#include "control/methods.hpp"
#include "control/records.hpp"

namespace plydisk::methods {

namespace {

// 0 if it is not given.
unsigned version_number(const Params& params, const char* field) {
  const std::uint64_t number = params.optional_number(field).value_or(0);
  if (number > UINT32_MAX) params.refuse("there is no version " + std::to_string(number));
  if (number == 0 && params.has(field)) params.refuse("versions are numbered from 1");
  return static_cast<unsigned>(number);
}

unsigned require_version_number(const Params& params, const char* field) {
  params.number(field);  // must be there
  return version_number(params, field);
}

}  // namespace

json version_list(ControlService& service, const Params& params, const Progress&) {
  json list = json::array();
  for (const VersionRecord& version : service.store().catalogue().versions(params.text("image")))
    list.push_back(version_json(service.store(), version));
  return list;
}

namespace {

// A version of a session that a station has attached, which knows best where its layers are. None
// for another session, or if the station can't be reached.
std::optional<VersionRecord> freeze_with_station(ControlService& service, const std::string& image,
                                                 const std::string& session,
                                                 const Progress& progress) {
  if (service.stations() == nullptr) return std::nullopt;
  const auto version = service.store().begin_station_version(image, session);
  if (!version) return std::nullopt;
  json answer;
  try {
    answer = ask_station(service, version->session(), "version", {{"number", version->number()}});
  } catch (const Error& error) {
    if (error.code() != EHOSTUNREACH) throw;
    return std::nullopt;
  }
  return version->finish(answer.value("bytes", std::uint64_t{0}), progress);
}

}  // namespace

json version_freeze(ControlService& service, const Params& params, const Progress& progress) {
  const std::string image = params.optional_text("image").value_or("");
  const std::string session = params.optional_text("session").value_or("");
  if (const auto version = freeze_with_station(service, image, session, progress))
    return version_json(service.store(), *version);
  return version_json(service.store(), service.store().freeze_version(image, session, progress));
}

json version_open(ControlService& service, const Params& params, const Progress&) {
  return version_json(service.store(),
                      service.store().open_version(params.text("image"), params.text("station"),
                                                   version_number(params, "base"),
                                                   params.optional_text("comment").value_or("")));
}

json version_close(ControlService& service, const Params& params, const Progress& progress) {
  return version_json(service.store(),
                      service.store().close_version(params.text("image"),
                                                    version_number(params, "number"), progress));
}

namespace {

// Who gives no number means one that stations don't have yet, and may have forgotten to close it.
void require_newer_version(Catalogue& catalogue, const std::string& image) {
  const unsigned published = catalogue.image(image).published;
  for (const VersionRecord& version : catalogue.versions(image))
    if (version.number > published && version.state == "frozen") return;
  throw Error(EINVAL, "no version of image " + quote(image) + " is newer than the published one, " +
                          std::to_string(published) +
                          ", and closed: close one first, or name the one that is to be published");
}

}  // namespace

json version_publish(ControlService& service, const Params& params, const Progress&) {
  const std::string image = params.text("image");
  const unsigned number = version_number(params, "number");
  if (number == 0) require_newer_version(service.store().catalogue(), image);
  return version_json(service.store(), service.store().publish_version(image, number));
}

json version_test(ControlService& service, const Params& params, const Progress&) {
  return version_json(
      service.store(),
      service.store().test_version(params.text("image"), require_version_number(params, "number"),
                                   params.texts("stations")));
}

json version_set(ControlService& service, const Params& params, const Progress&) {
  const std::string image = params.text("image");
  const unsigned number = require_version_number(params, "number");
  Catalogue& catalogue = service.store().catalogue();
  if (params.has("comment"))
    catalogue.comment_version(image, number, params.optional_text("comment").value_or(""));
  return version_json(service.store(), catalogue.version(image, number));
}

json version_discard(ControlService& service, const Params& params, const Progress&) {
  const std::string image = params.text("image");
  service.store().discard_version(image, version_number(params, "number"));
  return {{"image", image}};
}

json version_merge(ControlService& service, const Params& params, const Progress& progress) {
  const MergeResult result =
      service.store().merge_versions(params.text("image"), require_version_number(params, "first"),
                                     require_version_number(params, "last"), progress);
  return {{"image", params.text("image")}, {"number", params.number("last")},
          {"layers", result.layers},       {"copied", result.copied},
          {"removed", result.removed},     {"still_in_use", result.still_in_use}};
}

json version_diff(ControlService& service, const Params& params, const Progress& progress) {
  const VersionDifference difference = service.store().compare_versions(
      params.text("image"), require_version_number(params, "before"),
      require_version_number(params, "after"), progress);
  json ranges = json::array();
  for (const ByteRange& range : difference.ranges) ranges.push_back({range.offset, range.length});
  return {{"image", params.text("image")},
          {"before", params.number("before")},
          {"after", params.number("after")},
          {"sectors", difference.sectors},
          {"bytes", difference.sectors * sector_size},
          {"ranges", ranges}};
}

json version_verify(ControlService& service, const Params& params, const Progress& progress) {
  const std::string image = params.text("image");
  const unsigned given = version_number(params, "number");
  const unsigned number = given == 0 ? service.store().catalogue().image(image).published : given;
  const Verification result = service.store().verify_version(image, number, progress);
  json damaged = json::array();
  for (const DamagedChunk& chunk : result.damaged)
    damaged.push_back({{"offset", chunk.offset},
                       {"length", chunk_size},
                       {"layer", chunk.layer.empty() ? json(nullptr) : json(chunk.layer)}});
  return {{"image", image},          {"number", number},       {"sound", damaged.empty()},
          {"chunks", result.chunks}, {"hashed", result.added}, {"damaged", damaged}};
}

json gc(ControlService& service, const Params& params, const Progress&) {
  const bool dry_run = params.flag("dry_run");
  const Garbage garbage = service.store().collect_garbage(dry_run, params.flag("unknown"));
  json versions = json::array();
  for (const auto& [image, number] : garbage.versions)
    versions.push_back({{"image", image}, {"number", number}});
  return {{"dry_run", dry_run},
          {"versions", versions},
          {"folders", garbage.folders},
          {"unknown", garbage.unknown},
          {"freed", garbage.freed}};
}

json check(ControlService& service, const Params&, const Progress& progress) {
  const StoreCheck result = service.store().check(progress);
  return {{"sound", result.faults.empty()}, {"images", result.images},
          {"versions", result.versions},    {"layers", result.layers},
          {"faults", result.faults},        {"remarks", result.remarks}};
}

}  // namespace plydisk::methods
