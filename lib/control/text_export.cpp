#include "control/text_export.hpp"

#include <cstring>

#include "backing/nbd_backing.hpp"
#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/units.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

constexpr const char* identity_key = "boot-identity";
constexpr const char* writes_key = "writes";
constexpr const char* kept_key = "kept";

json where_writes_go(Store& store, std::string_view export_name, const Peer& peer) {
  const Greeting greeting = store.greet(parse_export_name(export_name), peer, {});
  for (const SessionName& it : store.session_names())
    if (!greeting.station.empty() && it.station == greeting.station &&
        it.image == greeting.image.name && it.state != "at-rest") {
      const SessionStatus session = store.session(it.id);
      return {{writes_key, to_string(session.record.writes)}, {kept_key, session.persistent}};
    }
  const Destination writes = greeting.plan.first();
  return {{writes_key, to_string(writes)},
          {kept_key,
           writes == Destination::direct || (is_persistent(writes) && !greeting.station.empty())}};
}

// What the export says; null if it is not there, or something else.
json ask(const std::string& uri, std::string_view name) {
  NbdOptions options;
  options.connections = 1;
  const auto backing = open_nbd_backing(with_export(uri, std::string(name)), options);
  std::string text(sector_size, '\0');
  if (backing->size() != text.size()) return {};
  backing->read(text.data(), text.size(), 0);
  json said = json::parse(text, nullptr, false);
  return said.is_object() ? said : json();
}

}  // namespace

std::unique_ptr<TextExport> TextExport::open(Store& store, std::string_view name,
                                             const Peer& peer) {
  json said;
  if (name == boot)
    said = {{identity_key, store.catalogue().parameter(identity_key)}};
  else if (name.starts_with(writes_prefix))
    said = where_writes_go(store, name.substr(writes_prefix.size()), peer);
  else
    return nullptr;
  return std::unique_ptr<TextExport>(new TextExport(said));
}

TextExport::TextExport(const json& said) : text_(said.dump()) { text_.resize(sector_size, ' '); }

void TextExport::read(void* buffer, std::size_t length, std::uint64_t offset) {
  std::memcpy(buffer, text_.data() + offset, length);
}

void TextExport::write(const void*, std::size_t, std::uint64_t) {
  throw Error(EROFS, "this export tells something, and can't be written");
}

std::optional<BootIdentity> ask_boot_identity(const std::string& uri) {
  try {
    const json said = ask(uri, TextExport::boot);
    if (!said.contains(identity_key)) return std::nullopt;
    return parse_boot_identity(said[identity_key].get<std::string>());
  } catch (const Error& error) {
    // The server is there, and has no such export.
    if (error.code() == ENOENT || error.code() == EINVAL) return std::nullopt;
    throw;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::optional<WritesOfDisk> ask_where_writes_go(const std::string& uri) {
  try {
    const json said = ask(uri, std::string(TextExport::writes_prefix) + export_of(uri));
    if (!said.contains(kept_key)) return std::nullopt;
    return WritesOfDisk{said.at(writes_key).get<std::string>(), said.at(kept_key).get<bool>()};
  } catch (const Error&) {
    return std::nullopt;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace plydisk
