#include "control/upload_export.hpp"

#include "base/error.hpp"
#include "control/station_protocol.hpp"
#include "store/names.hpp"

namespace plydisk {

UploadExport::UploadExport(Store& store, std::string_view export_name, const Peer& peer) {
  const ExportName name =
      parse_export_name(export_name.substr(station_protocol::upload_prefix.size()));
  if (!name.station || !name.session || !name.epoch)
    throw Error(EINVAL,
                "what a station has is sent to \".upload/IMAGE@STATION+TOKEN.NUMBER\", "
                "not to " +
                    quote(export_name));
  station_ = *name.station;
  upload_ = store.version_upload(name, peer, *name.epoch);
}

UploadExport::~UploadExport() {
  if (is_used_)
    upload_->fail(ECONNRESET, "station " + quote(station_) +
                                  " was cut off before it had sent all that it has; no version was "
                                  "made");
}

void UploadExport::read(void*, std::size_t, std::uint64_t) {
  throw Error(EPERM, "what a station sends for a version can't be read back");
}

void UploadExport::write(const void* data, std::size_t length, std::uint64_t offset) {
  is_used_ = true;
  upload_->write(data, length, offset);
}

void UploadExport::zero(std::uint64_t offset, std::uint64_t length) {
  is_used_ = true;
  upload_->zero(offset, length);
}

}  // namespace plydisk
