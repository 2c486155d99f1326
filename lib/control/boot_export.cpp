#include "control/boot_export.hpp"

#include <cstring>
#include <nlohmann/json.hpp>

#include "backing/nbd_backing.hpp"
#include "base/error.hpp"
#include "base/units.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr const char* identity_key = "boot-identity";

}  // namespace

BootExport::BootExport(Store& store)
    : text_(json{{identity_key, store.catalogue().parameter(identity_key)}}.dump()) {
  text_.resize(sector_size, ' ');
}

void BootExport::read(void* buffer, std::size_t length, std::uint64_t offset) {
  std::memcpy(buffer, text_.data() + offset, length);
}

void BootExport::write(const void*, std::size_t, std::uint64_t) {
  throw Error(EROFS, "the export .boot can't be written");
}

std::optional<BootIdentity> ask_boot_identity(const std::string& uri) {
  try {
    NbdOptions options;
    options.connections = 1;
    const auto backing = open_nbd_backing(with_export(uri, std::string(BootExport::name)), options);
    std::string text(sector_size, '\0');
    if (backing->size() != text.size()) return std::nullopt;
    backing->read(text.data(), text.size(), 0);
    const json said = json::parse(text, nullptr, false);
    if (!said.is_object() || !said.contains(identity_key)) return std::nullopt;
    return parse_boot_identity(said[identity_key].get<std::string>());
  } catch (const Error& error) {
    // The server is there, and has no such export.
    if (error.code() == ENOENT || error.code() == EINVAL) return std::nullopt;
    throw;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace plydisk
