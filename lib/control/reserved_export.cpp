#include "control/reserved_export.hpp"

#include "base/error.hpp"
#include "control/station_channel.hpp"
#include "control/station_protocol.hpp"
#include "control/text_export.hpp"
#include "control/upload_export.hpp"

namespace plydisk {

void ReservedExport::zero(std::uint64_t, std::uint64_t) {
  throw Error(EOPNOTSUPP, "this export is no disk, and can't be zeroed");
}

std::unique_ptr<ReservedExport> open_reserved_export(Store& store, StationHub& hub,
                                                     MulticastService* multicast,
                                                     std::string_view name, Peer peer,
                                                     std::function<void(const std::string&)> log) {
  if (name.starts_with(station_protocol::control_prefix))
    return std::make_unique<StationChannel>(store, hub, multicast, name, std::move(peer),
                                            std::move(log));
  if (name.starts_with(station_protocol::upload_prefix))
    return std::make_unique<UploadExport>(store, name, peer);
  return TextExport::open(store, name, peer);
}

}  // namespace plydisk
