// Carrying what a station has itself to its server.
#include <algorithm>
#include <ctime>

#include "base/error.hpp"
#include "base/uuid.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

// What the server has that does not survive can't be brought to the station.
void StoreImpl::require_may_carry(const LiveSession& session, Destination destination) const {
  if (passes(destination)) return;
  const auto& layers = session.layers;
  const auto from = layers.begin() + static_cast<std::ptrdiff_t>(surviving(layers));
  const bool is_at_server =
      layers.empty() ? session.begun && !is_at_client(session.record.writes) &&
                           !is_persistent(session.record.writes)
                     : std::any_of(from, layers.end(), [](const auto& layer) {
                         return !is_at_client(layer.destination) || layer.kind == "mixed";
                       });
  if (is_at_server)
    throw Error(ENOTSUP,
                "the server has writes of this session that do not survive, and they can't be "
                "kept at the station; to keep all of them there, use server-persistent --carry");
}

// Whether the server has taken over what was to be carried to it. False if it can't be asked.
bool StoreImpl::is_carried(const std::string& name) {
  try {
    const Upstream::SessionState state = options_.upstream->session_state();
    return !state.has_volatile &&
           (state.foundation.writer == name || state.foundation.image_writer == name);
  } catch (const std::exception&) {
    return false;
  }
}

// What the server takes the session to be, also after it has begun anew.
Upstream::SessionState StoreImpl::known_state(const LiveSession& session) {
  try {
    return options_.upstream->session_state();
  } catch (const Error& error) {
    if (error.code() != ENOENT) throw;
  }
  bring_back(session);
  return options_.upstream->session_state();
}

// Copies what a station has itself to the server, which then lets it become what survives, in one
// step of its own. Until the station knows of that it keeps what it has; and if it is cut off
// before, its next session learns it from the name in `carrying`.
void StoreImpl::carry_to_server(LiveSession& session, const Progress& progress,
                                RedirectResult& result) {
  session.news.push_back({std::time(nullptr), "redirected",
                          std::string(to_string(result.from)) + " to " + to_string(result.to)});
  if (session.begun && !session.layers.empty()) {
    result.pause_ms = redirect_to_pass(session, Destination::server_volatile);
    publish(session);
    result.carried = copy_into_backing(session, progress);
    session.news.push_back(
        {std::time(nullptr), "carried", std::to_string(result.carried) + " bytes"});
  }
  start_direct(session);
  const std::string name =
      session.record.carrying.empty() ? random_hex(8) : session.record.carrying;
  // An engine that starts meanwhile knows by it who has written.
  session.record.carrying = name;
  // The session may have written the image itself, by the name that it had until now.
  if (session.begun)
    session.record.foundation.image_writer = known_state(session).foundation.image_writer;
  agreement_.expect(session.record);
  save(session);
  try {
    // What is carried lies on nothing that is left behind.
    agreement_.tell({result.to, false, false, name}, true, [&] { bring_back(session); });
  } catch (const Error&) {
    if (!is_carried(name)) throw;
    agreement_.expect(std::nullopt);
    try {
      agreement_.set(Upstream::Terms{result.to, false, false, name});
      agreement_.restore();
    } catch (const Error&) {
      agreement_.set(terms_for(session, session.record.writes));
      agreement_.expect(session.record);
      throw;
    }
  }
  session.record.carrying.clear();
  session.record.writer = name;
  // There are no layers left at the server then.
  if (result.to == Destination::direct) session.record.foundation = {name, "", ""};
  session.record.writes = result.to;
  try {
    session.begun ? drop_all_layers(session) : save(session);
    agreement_.expect(session.record);
  } catch (...) {
    session.record.carrying = name;
    throw;
  }
  session.told_full = false;
  result.survives = true;
}

}  // namespace plydisk
