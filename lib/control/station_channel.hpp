// A station's control connection, at the server: see station_protocol.hpp.
#pragma once

#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/reserved_export.hpp"
#include "control/station_hub.hpp"
#include "multicast/service.hpp"
#include "store/names.hpp"
#include "store/store.hpp"

namespace plydisk {

class StationChannel final : public ReservedExport {
 public:
  // Throws Error(EINVAL) for a name that has no station or token. `log` gets what is refused.
  using Log = std::function<void(const std::string&)>;
  // `multicast`: null: there is none.
  StationChannel(Store& store, StationHub& hub, MulticastService* multicast,
                 std::string_view export_name, Peer peer, Log log);

  std::uint64_t size() const override;
  void read(void* buffer, std::size_t length, std::uint64_t offset) override;
  void write(const void* data, std::size_t length, std::uint64_t offset) override;

 private:
  nlohmann::json carry_out(const nlohmann::json& request);
  nlohmann::json challenge(const nlohmann::json& params);
  nlohmann::json hello(const nlohmann::json& params);
  nlohmann::json ended(const nlohmann::json& params);
  nlohmann::json may(const nlohmann::json& params);
  nlohmann::json state(const nlohmann::json& params);
  nlohmann::json redirect(const nlohmann::json& params);
  nlohmann::json freeze(const nlohmann::json& params);
  nlohmann::json sent(const nlohmann::json& params);
  nlohmann::json end(const nlohmann::json& params);
  nlohmann::json join(const nlohmann::json& params);
  nlohmann::json leave(const nlohmann::json& params);
  nlohmann::json hashes(const nlohmann::json& params);
  nlohmann::json take_answer(const nlohmann::json& params);
  StationHub::Listener listener() const { return {name_.image, *name_.station, *name_.session}; }

  Store& store_;
  StationHub& hub_;
  MulticastService* const multicast_;
  const ExportName name_;
  const Peer peer_;
  const Log log_;
  std::mutex mutex_;  // protects all below
  std::string answer_;
  std::string event_;  // what was read of the server's requests last
  std::vector<std::byte> hashes_;
  std::string nonce_;  // good for one hello
};

}  // namespace plydisk
