// What programs may do in the administration mount, with any names and any bytes: the operations
// are done or refused with an Error, and what is left of the values is valid.
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "filesystem.hpp"
#include "store/names.hpp"
#include "store/parameters.hpp"
#include "temporary_directory.hpp"

namespace {

using namespace plydisk;

struct Target {
  test::TemporaryDirectory folder;
  std::unique_ptr<StoreCaller> caller;
  std::unique_ptr<Filesystem> mount;

  Target() {
    const auto path = folder.path() / "store";
    Store::init(path);
    StoreCaller::Options options;
    options.linger = std::chrono::hours(1);
    caller = std::make_unique<StoreCaller>(path, options);
    caller->call("image.create", {{"name", "img"}, {"size", 1 << 20}});
    caller->call("station.add", {{"name", "pc1"}});
    Access access;
    access.topics.fill(0755);
    mount = std::make_unique<Filesystem>(*caller, access, [](const std::string&) {});
  }
};

constexpr std::array paths{
    "/",
    "/parameters",
    "/parameters/session-grace",
    "/parameters/default-writes",
    "/parameters/unknown-stations",
    "/images/img",
    "/images/img/description",
    "/images/img/writes",
    "/images/img/size",
    "/images/img/state",
    "/images/img/published",
    "/images/img/open",
    "/images/img/merge",
    "/images/img/versions",
    "/images/img/versions/open",
    "/images/img/versions/1/disk",
    "/images/img/versions/1/state",
    "/images/img/versions/1/comment",
    "/images/img/versions/1/testers",
    "/images/img/versions/1/diff",
    "/images/img/versions/1/verify",
    "/images/new",
    "/images/new/size",
    "/images/new/from",
    "/stations",
    "/stations/pc1",
    "/stations/pc1/image",
    "/stations/pc1/writes",
    "/stations/pc1/persistence",
    "/stations/pc1/destinations",
    "/stations/pc1/allow",
    "/stations/pc1/comment",
    "/stations/pc1/draft",
    "/stations/pc1/.comment.swp",
    "/sessions",
    "/layers",
    "/check",
    "/gc",
    "/events",
    "/status",
    "/last-error",
};

std::string any_path(FuzzedDataProvider& data) {
  if (data.ConsumeIntegralInRange(0, 5) != 0) return data.PickValueInArray(paths);
  std::string name = data.ConsumeRandomLengthString(80);
  // The kernel gives neither of them.
  std::erase_if(name, [](char c) { return c == '\0' || c == '/'; });
  if (name.empty() || name == "." || name == "..") name = "x";
  constexpr std::array folders{
      "/",          "/stations/",  "/stations/pc1/", "/images/", "/images/img/versions/",
      "/sessions/", "/parameters/"};
  return data.PickValueInArray(folders) + name;
}

void edit(FuzzedDataProvider& data, OpenFile& file) {
  std::array<char, 4096> buffer{};
  while (data.remaining_bytes() > 0 && data.ConsumeBool()) {
    const std::uint64_t offset = data.ConsumeIntegralInRange<std::uint64_t>(0, 70000);
    switch (data.ConsumeIntegralInRange(0, 4)) {
      case 0:
        file.read(buffer.data(), buffer.size(), offset);
        break;
      case 1:
        file.truncate(offset);
        break;
      case 2:
        file.flush();
        break;
      default: {
        std::string text = data.ConsumeRandomLengthString(300);
        if (data.ConsumeBool()) text += "\n";
        file.write(text.data(), text.size(), data.ConsumeBool() ? 0 : offset, data.ConsumeBool());
      }
    }
  }
  file.flush();
  file.close();
}

void act(FuzzedDataProvider& data, Filesystem& mount) {
  const std::string path = any_path(data);
  bool is_cached = false;
  switch (data.ConsumeIntegralInRange(0, 9)) {
    case 0:
      mount.attributes(path);
      break;
    case 1:
      mount.list(path, [](const std::string&, const struct stat&) {});
      break;
    case 2:
      mount.rename(path, any_path(data), data.ConsumeBool());
      break;
    case 3:
      // Else there would be nothing left to work on.
      if (path != "/images/img" && path != "/stations/pc1") mount.remove_folder(path);
      break;
    case 4:
      mount.remove_file(path);
      break;
    case 5:
      mount.make_folder(path);
      break;
    case 6:
      edit(data, *mount.create(path, 0600, O_WRONLY));
      break;
    case 7:
      mount.truncate(path, data.ConsumeIntegralInRange<std::uint64_t>(0, 1 << 17));
      break;
    default:
      edit(data, *mount.open(path, data.ConsumeBool() ? O_RDWR : O_RDWR | O_TRUNC, is_cached));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static Target target;
  FuzzedDataProvider data(bytes, size);
  while (data.remaining_bytes() > 0) {
    try {
      act(data, *target.mount);
    } catch (const Error&) {
      // Refused.
    }
  }
  StoreCaller& caller = *target.caller;
  for (const auto& parameter : caller.call("param.list", nlohmann::json::object()))
    parameter_spec(parameter["name"].get<std::string>())
        .check(parameter["value"].get<std::string>());
  for (const auto& version : caller.call("version.list", {{"image", "img"}}))
    if (version["state"] == "open") caller.call("version.discard", {{"image", "img"}});
  caller.call("station.set", {{"name", "pc1"}, {"image", nullptr}});
  for (const auto& station : caller.call("station.list", nlohmann::json::object())) {
    require_valid_name("station", station["name"].get<std::string>());
    for (const auto& network : station["allow"]) require_valid_cidr(network.get<std::string>());
    if (station["name"] != "pc1") caller.call("station.remove", {{"name", station["name"]}});
  }
  for (const auto& image : caller.call("image.list", nlohmann::json::object())) {
    require_valid_name("image", image["name"].get<std::string>());
    if (image["name"] != "img") caller.call("image.remove", {{"name", image["name"]}});
  }
  return 0;
}
