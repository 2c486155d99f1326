// What a server tells a station that it does not know yet: the read-only export ".boot", a JSON
// object padded with spaces to one sector, such as {"boot-identity": "mac"}.
#pragma once

#include <optional>
#include <string>

#include "boot/identity.hpp"
#include "control/reserved_export.hpp"

namespace plydisk {

class BootExport final : public ReservedExport {
 public:
  static constexpr std::string_view name = ".boot";

  // As the store's parameters are at this moment.
  explicit BootExport(Store& store);

  std::uint64_t size() const override { return text_.size(); }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const void* data, std::size_t length, std::uint64_t offset) override;

 private:
  std::string text_;
};

// What the server of this URI says; nothing if it is none of plydisk's. Throws Error if it can't be
// reached.
std::optional<BootIdentity> ask_boot_identity(const std::string& uri);

}  // namespace plydisk
