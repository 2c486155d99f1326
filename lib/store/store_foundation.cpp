// What a station's layers lie on: the server's, which others may change.
#include <algorithm>

#include "base/error.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

// From now on the server must not begin another session for the one that is here.
void StoreImpl::note_passed() noexcept {
  try {
    catalogue_.note_passed(true);
  } catch (const std::exception& error) {
    log(std::string("it can't be written down that something went to the server: ") + error.what());
  }
}

bool StoreImpl::may_have_passed(const LayerRecord& layer) {
  if (layer.kind == "pass") return !open_layer(layer, nullptr)->empty();
  return layer.kind == "mixed";
}

// What the server was told of a session that goes on.
void StoreImpl::recall_agreement(const SessionRecord& session,
                                 const std::vector<LayerRecord>& layers) {
  const bool is_above =
      !layers.empty() && layers.back().kind == "pass" && surviving(layers) + 1 < layers.size();
  agreement_.set(Upstream::Terms{session.writes, is_above, has_own_layers(layers), session.writer});
  agreement_.expect(session);
}

// At a station whose session begins: what an earlier one of this boot has left at the server, which
// was not told of its end, is not to come back without the layers that lay on it.
void StoreImpl::end_leftover() {
  if (!options_.upstream) return;
  try {
    if (options_.upstream->session_state().is_attached) options_.upstream->end_session();
  } catch (const Error&) {
    // It knows none; or it is away, which is told by who connects.
  }
}

// At a station whose session begins: what an earlier one has left here must fit what is there.
void StoreImpl::take_foundation(LiveSession& session, const std::optional<SessionRecord>& rest) {
  if (!options_.upstream) return;
  const Upstream::SessionState state = options_.upstream->session_state();
  session.record.foundation = state.foundation;
  // Its layers must go with what they lie on.
  if (!rest && state.has_volatile) {
    push_marker(session, Destination::server_volatile);
    catalogue_.note_passed(true);
    session.disk->stack().version->backing().stay_in_session();
  }
  if (rest && state.has_volatile)
    throw Error(EBUSY, "the server has volatile writes of station " +
                           quote(session.record.station) +
                           " that were made without its layers here; end their session there with: "
                           "plydisk session end " +
                           session.record.image + "@" + session.record.station);
  const auto lacks_some = [&] {
    const Stack stack = session.disk->stack();
    for (std::size_t i = 0; i < session.layers.size(); ++i)
      if (!stack.layers[stack.layers.size() - 1 - i]->empty() &&
          !may_hold(state.foundation, *rest, session.layers[i].passed))
        return true;
    return false;
  };
  if (rest && (compare(*rest, state.foundation) != Fit::fits || lacks_some()))
    throw Error(EUCLEAN, "what the server has for station " + quote(session.record.station) +
                             " was changed since its layers here were made; attach anew");
  agreement_.expect(session.record);
}

// Whether the layers that a station has kept fit what the server has.
Fit StoreImpl::fit(const SessionRecord& rest, const Foundation& now) {
  const Fit result = compare(rest, now);
  if (result != Fit::fits) return result;
  const auto layers = catalogue_.session_layers(rest.id);
  const auto kept = layers.begin() + static_cast<std::ptrdiff_t>(surviving(layers));
  const bool lacks_some = std::any_of(layers.begin(), kept, [&](const LayerRecord& layer) {
    return !may_hold(now, rest, layer.passed) && may_have_passed(layer);
  });
  return lacks_some ? Fit::differs : Fit::fits;
}

// When the session's writes have gone to the server and go elsewhere now: what lies there is known.
void StoreImpl::note_foundation(LiveSession& session) {
  if (!options_.upstream) return;
  session.record.foundation = options_.upstream->session_state().foundation;
  agreement_.expect(session.record);
  save(session);
}

// At a server: what the layers that a station has itself lie on.
Foundation StoreImpl::foundation_of(const SessionRecord& session,
                                    const std::vector<LayerRecord>& layers) {
  Foundation foundation;
  foundation.image_writer = catalogue_.image(session.image).writer;
  if (surviving(layers) == 0) return foundation;
  foundation.session = session.id;
  foundation.writer = session.writer;
  return foundation;
}

}  // namespace plydisk
