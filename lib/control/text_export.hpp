// What a server tells those who are about to use a disk, by read-only exports: a JSON object padded
// with spaces to one sector.
//
//   .boot             {"boot-identity": "mac"}: how a station is called that does not know it
//   .writes/EXPORT    {"writes": "server-volatile", "kept": false}: where what is written to that
//                     disk goes now, or would in a new session, and whether it outlives the session
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "boot/identity.hpp"
#include "control/reserved_export.hpp"

namespace plydisk {

class TextExport final : public ReservedExport {
 public:
  static constexpr std::string_view boot = ".boot";
  static constexpr std::string_view writes_prefix = ".writes/";

  // Null if the name is no such export's. As things are at this moment. Throws Error for what the
  // store says of a disk that is asked about.
  static std::unique_ptr<TextExport> open(Store& store, std::string_view name, const Peer& peer);

  std::uint64_t size() const override { return text_.size(); }
  void read(void* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const void* data, std::size_t length, std::uint64_t offset) override;

 private:
  explicit TextExport(const nlohmann::json& said);

  std::string text_;
};

// What the server of this URI says; nothing if it is none of plydisk's. Throws Error if it can't be
// reached.
std::optional<BootIdentity> ask_boot_identity(const std::string& uri);
struct WritesOfDisk {
  std::string writes;    // such as "server-volatile"
  bool is_kept = false;  // after the session
};
// Likewise of the disk that the URI names. Nothing, too, if it is refused, which is said by whoever
// opens it.
std::optional<WritesOfDisk> ask_where_writes_go(const std::string& uri);

}  // namespace plydisk
