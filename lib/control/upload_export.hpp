// Over which a station sends what its own layers hold, for a version: see station_protocol.hpp.
#pragma once

#include <atomic>

#include "control/reserved_export.hpp"

namespace plydisk {

class UploadExport final : public ReservedExport {
 public:
  // Throws Error: EINVAL for a name that is not complete; ESTALE if nobody waits for it.
  UploadExport(Store& store, std::string_view export_name, const Peer& peer);
  // Who has sent a part, and not all, does not come back.
  ~UploadExport() override;

  std::uint64_t size() const override { return upload_->size(); }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const void* data, std::size_t length, std::uint64_t offset) override;
  bool can_zero() const override { return true; }
  void zero(std::uint64_t offset, std::uint64_t length) override;

 private:
  std::shared_ptr<VersionUpload> upload_;
  std::string station_;
  // Clients open an export also to ask about it.
  std::atomic<bool> is_used_{false};
};

}  // namespace plydisk
