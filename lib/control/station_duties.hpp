// At a station: what its server asks of it, see station_protocol.hpp.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "control/version_sender.hpp"

namespace plydisk {

class ControlService;

class StationDuties {
 public:
  // All must outlive it. `log` gets what an administrator should know.
  StationDuties(ControlService& service, ServerLink& link,
                std::function<void(const std::string&)> log)
      : service_(service), sender_(link, std::move(log)) {}

  // For ServerLink::listen().
  nlohmann::json carry_out(const std::string& method, nlohmann::json params);
  // What goes on in the background ends.
  void stop() noexcept { sender_.stop(); }

 private:
  std::string session() const;
  nlohmann::json send_version(const nlohmann::json& params);

  ControlService& service_;
  VersionSender sender_;
};

}  // namespace plydisk
