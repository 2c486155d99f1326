// Who may come in, and what it may choose.
#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/secret.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

// The station that the name says, or the one that the address alone tells.
std::optional<StationRecord> StoreImpl::find_station(const ExportName& name, const Peer& peer) {
  if (name.station) return catalogue_.find_station(*name.station);
  if (peer.address == "unix") return std::nullopt;
  for (const auto& station : catalogue_.stations())
    for (const auto& network : station.allow)
      if (cidr_is_host(network) && cidr_contains(network, peer.address)) return station;
  return std::nullopt;
}

bool StoreImpl::may_come_from(const StationRecord& station, const Peer& peer) {
  // Who can open the server's Unix socket is the administrator's choice already.
  return station.allow.empty() || peer.address == "unix" || peer.is_firmware ||
         std::ranges::any_of(station.allow, [&](const std::string& network) {
           return cidr_contains(network, peer.address);
         });
}

bool StoreImpl::lets_unknown_in(const Peer& peer) {
  const std::string policy = catalogue_.parameter("unknown-stations");
  return policy == "allow" || (policy == "local" && peer.local);
}

void StoreImpl::require_allowed(const ExportName& name, const std::optional<StationRecord>& station,
                                const Peer& peer) {
  if (station) {
    if (may_come_from(*station, peer)) return;
    throw Error(EACCES, "station " + quote(station->name) + " may not connect from " +
                            peer.address + ", which is in none of the networks that it is allowed");
  }
  if (lets_unknown_in(peer)) return;
  throw Error(EACCES, (name.station ? "station " + quote(*name.station) + " is not known"
                                    : std::string("an unnamed station is not let in")) +
                          " (from " + peer.address +
                          "); add it with: plydisk station add NAME, or see the parameter "
                          "unknown-stations");
}

std::vector<ImageRecord> StoreImpl::exports(const Peer& peer) {
  bool all = lets_unknown_in(peer);
  std::set<std::string> known;
  for (const auto& station : catalogue_.stations()) {
    if (!may_come_from(station, peer)) continue;
    if (station.image)
      known.insert(*station.image);
    else
      all = true;
  }
  std::vector<ImageRecord> images = catalogue_.images();
  if (!all) std::erase_if(images, [&](const auto& image) { return !known.contains(image.name); });
  return images;
}

std::optional<std::string> StoreImpl::secret_recipe(const ExportName& name, const Peer& peer) {
  const std::lock_guard connect(connect_mutex_);
  const auto station = receive(name, peer).record;
  if (!station || !station->secret) return std::nullopt;
  return key_recipe(*station->secret);
}

// Who shows the secret once may go on under the same token, which is new at each boot.
void StoreImpl::require_secret(const StationRecord& station, const ExportName& name,
                               const Introduction& introduction) {
  if (!station.secret) return;
  const std::string token = name.session.value_or("");
  if (!token.empty() && token == station.proven) return;
  if (introduction.proof.empty())
    throw Error(EACCES, "station " + quote(station.name) +
                            " has a secret, which it must show: attach it with plydisk attach "
                            "--secret-file FILE; a plain NBD client can't show it");
  if (!is_proven(*station.secret, introduction.message, introduction.proof))
    throw Error(EACCES, "the secret of station " + quote(station.name) + " is wrong");
  catalogue_.change_station(station.name, [&](StationRecord& record) { record.proven = token; });
}

// `own`: the plan that an administrator made for the station, who may go wherever that says.
void StoreImpl::require_may_choose(const std::string& station, const WritePlan& own,
                                   const WritePlan& plan) {
  const auto record = catalogue_.find_station(station);
  const auto may = [&](Destination destination) {
    if (own.find(destination) != nullptr) return true;
    if (record && record->destinations) return record->destinations->find(destination) != nullptr;
    return destination != Destination::direct;
  };
  for (const auto& step : plan.steps())
    if (!may(step.destination))
      throw Error(EACCES, "station " + quote(station) + " may not choose " +
                              to_string(step.destination) +
                              " for its writes; the administrator allows it with: plydisk station "
                              "set " +
                              (station.empty() ? "NAME" : station) + " --destinations LIST");
}

void StoreImpl::require_may_choose(const ExportName& name, const Peer& peer,
                                   const WritePlan& plan) {
  const WritePlan own = session_with_token(name, peer).status.record.plan;
  require_may_choose(name.station.value_or(""), own, plan);
}

StationSession StoreImpl::session_with_token(const ExportName& name, const Peer& peer) {
  require_allowed(name, find_station(name, peer), peer);
  std::unique_lock lock(mutex_);
  const auto session = find_live(name.station.value_or(""), name.image);
  if (!session || session->finishing || !name.session || session->record.token != *name.session)
    throw Error(ENOENT, "station " + quote(name.station.value_or("")) +
                            " has no session on image " + quote(name.image) +
                            " that began with this token");
  const std::string writer = session->seen_writer;
  const std::vector<LayerRecord> layers = session->seen_layers;
  const bool is_attached = session->is_attached;
  lock.unlock();
  const SessionStatus status = status_of(*session);
  return {status,
          surviving(layers) < layers.size(),
          is_attached,
          writer,
          foundation_of(status.record, layers),
          catalogue_.image(name.image).uuid,
          std::shared_ptr<Disk>(session, session->disk.get())};
}

// What a client that begins a session writes to. With a token it is plydisk's own, and may have a
// place at the station. Firmware has none; what it writes there is volatile like the rest, and lies
// below that.
WritePlan StoreImpl::plan_for(const ExportName& name, const Peer& peer, const std::string& station,
                              const WritePlan& plan) const {
  const Destination writes = plan.first();
  if (!is_at_client(writes) || is_station() || name.session) return plan;
  if (peer.is_firmware && !is_persistent(writes)) return Destination::server_volatile;
  throw Error(EINVAL, "the writes of station " + quote(station) + " go to " + to_string(writes) +
                          ", which is at the station and not for " +
                          (peer.is_firmware ? "its firmware" : "a plain NBD client") +
                          "; choose server-volatile, server-persistent or direct");
}

// Whether the station's system is connected. The caller holds mutex_.
bool StoreImpl::is_in_use(const LiveSession& session) {
  return session.connections > session.of_firmware;
}

// A station that is connected from one address is not let in from another. The caller holds mutex_.
void StoreImpl::require_same_peer(const LiveSession& session, const Peer& peer) {
  if (is_in_use(session) && session.peer != peer.address)
    throw Error(EBUSY, "station " + quote(session.record.station) + " is connected from " +
                           session.peer + "; a second one from " + peer.address +
                           " would damage its disk");
}

// Whether the station has lost the connections that it had. The caller holds mutex_.
bool StoreImpl::is_newer(const LiveSession& session, const ExportName& name) {
  return name.epoch && *name.epoch > session.epoch && session.record.token == name.session;
}

// Throws unless firmware may end a session that the station's system has taken over. The caller
// holds mutex_.
void StoreImpl::require_left(const LiveSession& session) {
  if (!is_in_use(session)) return;
  throw Error(EBUSY, "the system of station " + quote(session.record.station) +
                         " runs on this disk, connected from " + session.peer +
                         ", so nobody is let in as its firmware; if its machine is gone, end the "
                         "session with: plydisk session end " +
                         session.record.id);
}

// Throws if the image has no such version, or it is not for this station.
void StoreImpl::require_may_use(const std::string& image, unsigned number,
                                const std::string& station) {
  const VersionRecord version = catalogue_.version(image, number);
  const std::string name = "version " + std::to_string(number) + " of image " + quote(image);
  if (version.state == "open" && version.station != station)
    throw Error(EBUSY, name + " is open for station " + quote(version.station) + " alone");
  if (version.state != "retired") return;
  // Who began before it was merged goes on.
  const auto session = catalogue_.session_of(station, image);
  if (station.empty() || !session || session->version != number)
    throw Error(ENOENT, name + " was merged into another one");
}

}  // namespace plydisk
