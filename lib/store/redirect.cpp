// Redirection: another destination for a live session's writes, without disturbing its station.
#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <thread>

#include "base/error.hpp"
#include "store/store_impl.hpp"

namespace plydisk {

namespace {

// Of a disk to a server that is there.
constexpr std::chrono::seconds longest_return{3};
constexpr std::chrono::milliseconds between_looks{50};

}  // namespace

void StoreImpl::require_may_go_direct(LiveSession& session, const RedirectOptions& options) {
  const ImageRecord image = catalogue_.image(session.record.image);
  const Stack stack = session.disk->stack();
  if (stack.version->has_layers())
    throw Error(EINVAL, "version " + std::to_string(session.record.version) + " of image " +
                            quote(image.name) +
                            " has frozen layers, so there is nothing to write to directly");
  require_no_version_above(image);
  require_image_free(image, Destination::direct, session.record.id);
  require_layers_left(session, options);
}

// Who goes on to write directly to what lies below the layers must have said what becomes of those.
void StoreImpl::require_layers_left(const LiveSession& session, const RedirectOptions& options) {
  const Stack stack = session.disk->stack();
  const bool has_written = std::any_of(stack.layers.begin(), stack.layers.end(),
                                       [](const auto& layer) { return !layer->empty(); });
  if (has_written && !options.carry && !options.force)
    throw Error(EBUSY,
                "session " + session.record.id +
                    " has written to layers that the image would lack; \"plydisk redirect\" with "
                    "--carry moves all of it into the image first, with --force leaves it where it "
                    "is");
}

void StoreImpl::require_possible(Destination destination) const {
  if (!is_station()) {
    if (is_at_client(destination))
      throw Error(EINVAL, std::string(to_string(destination)) +
                              " is at the station; redirect a session that plydisk attached there");
    return;
  }
  if (!options_.upstream && passes(destination) && destination != Destination::direct)
    throw Error(ENOTSUP, std::string(to_string(destination)) +
                             " is a destination of plydisk's own servers; to write to this one's "
                             "export, use direct");
  if (destination == Destination::client_ram && options_.memory.empty())
    throw Error(EINVAL, "there is no folder in memory for client-ram");
  if (is_at_client(destination) && destination != Destination::client_ram && !options_.keeps_files)
    throw Error(EINVAL, std::string(to_string(destination)) +
                            " needs a folder on a disk of this station: attach with --dir FOLDER");
}

// A layer without sectors, which says to those that are put on top of it that they lie on writes
// to this destination. What has passed to the server so far has no layer at a station; and what
// stations keep themselves has none at the server.
void StoreImpl::push_marker(LiveSession& session, Destination destination) {
  const LayerRecord record = new_layer(session, destination);
  const auto layer = create_layer(session, record);
  session.layers.push_back(record);
  try {
    save(session);
  } catch (...) {
    session.layers.pop_back();
    remove_layers({record});
    throw;
  }
  session.disk->prepare([&](Stack& stack) { stack.layers.insert(stack.layers.begin(), layer); });
}

// A server that is away is not waited for: what goes to it fails soon enough, and the rest must
// work without it.
void StoreImpl::ask_whether_allowed(const WritePlan& plan) {
  try {
    options_.upstream->require_may_choose(plan);
  } catch (const Error& error) {
    if (error.code() == EACCES) throw;
  }
}

// Tells the server, whose word counts, before anything is done here.
void StoreImpl::tell_upstream(LiveSession& session, Destination destination) {
  agreement_.tell(terms_for(session, destination), false, [&] {
    // Who goes away from the server does not wait for it.
    if (is_at_client(destination)) throw Error(ESHUTDOWN, "it has begun anew");
    bring_back(session);
  });
}

// For what goes to this destination on top of the layers that there are.
Upstream::Terms StoreImpl::terms_for(const LiveSession& session, Destination destination) {
  return {destination, surviving(session.layers) < session.layers.size(),
          has_own_layers(session.layers), session.record.writer};
}

bool StoreImpl::has_own_layers(const std::vector<LayerRecord>& layers) {
  return std::ranges::any_of(layers, [](const LayerRecord& layer) {
    return layer.kind != "pass" && is_persistent(layer.destination);
  });
}

// Whether something was written where writes go now.
bool StoreImpl::has_written(const LiveSession& session) {
  const Stack stack = session.disk->stack();
  return session.begun && (stack.layers.empty() || !stack.layers.front()->empty());
}

// The server has started anew, and this disk has not been back yet: a request brings it there. Not
// for long, since others wait for the session meanwhile: a server may be there and refuse it.
void StoreImpl::bring_back(const LiveSession& session) {
  const auto give_up = std::chrono::steady_clock::now() + longest_return;
  const ThrowIfAway throw_if_away;
  Backing& backing = session.disk->stack().version->backing();
  while (true) {
    try {
      std::array<std::byte, sector_size> sector{};
      backing.read(sector.data(), sector.size(), 0);
      return backing.flush();
    } catch (const ServerAway& away) {
      if (std::chrono::steady_clock::now() < give_up) {
        std::this_thread::sleep_for(between_looks);
        continue;
      }
      const std::string trouble = backing.trouble();
      throw Error(away.code(), trouble.empty() ? away.what() : trouble);
    }
  }
}

// Whether the layer below the top goes when nothing was written to it.
bool StoreImpl::may_drop_unused(const LiveSession& session) const {
  if (session.layers.size() < 2) return true;
  const LayerRecord& below = session.layers[session.layers.size() - 2];
  // One that the other end takes for a place of volatile writes stays.
  if (is_station() ? !is_persistent(below.destination) : is_at_client(below.destination))
    return false;
  if (is_station()) return true;
  // So does the only one that says that there is a session at the server to lie on: the station may
  // have been told of it.
  std::vector<LayerRecord> without = session.layers;
  without.erase(without.end() - 2);
  return surviving(session.layers) == 0 || surviving(without) > 0;
}

// Opens a new layer on top. Returns the pause in milliseconds.
double StoreImpl::push_layer(LiveSession& session, Destination destination) {
  if (session.begun && session.layers.empty() && is_station() && passes(session.record.writes) &&
      !is_persistent(session.record.writes))
    push_marker(session, session.record.writes);
  const Stack before = session.disk->stack();
  const LayerRecord record = new_layer(session, destination);
  const auto layer = create_layer(session, record);
  session.layers.push_back(record);
  const Destination old_writes = std::exchange(session.record.writes, destination);
  try {
    // Before the first write can reach the layer: a restart must find it.
    save(session);
  } catch (...) {
    session.layers.pop_back();
    session.record.writes = old_writes;
    remove_layers({record});
    throw;
  }
  std::shared_ptr<Layer> unused;
  const bool direct = passes(destination);
  const bool may_drop = may_drop_unused(session);
  const double pause = session.disk->change([&](Stack& stack, bool& is_direct) {
    if (!stack.layers.empty() && stack.layers.front()->empty() && may_drop) {
      unused = stack.layers.front();
      stack.layers.erase(stack.layers.begin());
    }
    stack.layers.insert(stack.layers.begin(), layer);
    is_direct = direct;
  });
  session.begun = true;
  if (unused) {
    const std::vector<LayerRecord> gone{session.layers[session.layers.size() - 2]};
    session.layers.erase(session.layers.end() - 2);
    save(session);
    remove_layers(gone);
  } else if (!before.layers.empty() && !waits_for_server(session, *before.layers.front())) {
    // What survives the next boot is the old layer as it was when it was left.
    before.layers.front()->settle();
  }
  return pause;
}

// Whether a layer of a station's can't be settled now, since what has passed on past it is at a
// server that is away. Flushes cover it until then.
bool StoreImpl::waits_for_server(const LiveSession& session, const Layer& layer) const {
  return is_station() && layer.kind() == LayerKind::pass &&
         !session.disk->stack().version->backing().trouble().empty();
}

// Nobody is let in to the image, and nobody else may claim it, while the claim stands.
void StoreImpl::claim_image(LiveSession& session, bool takes) {
  const std::lock_guard lock(mutex_);
  session.takes_image = takes;
}

// Returns the pause in milliseconds.
double StoreImpl::redirect_to_direct(LiveSession& session, const RedirectOptions& options,
                                     const Progress& progress) {
  {
    // Nobody may come to the image while it is decided whether it is free.
    const std::lock_guard connect(connect_mutex_);
    require_may_go_direct(session, options);
    claim_image(session, true);
  }
  double pause = 0;
  try {
    start_direct(session);
    if (!session.begun) {
      // Its station takes itself for the image's writer from now on.
      if (options.by_station && options.carry) note_image_writer(session);
      session.record.writes = Destination::direct;
    } else {
      if (options.carry && surviving(session.layers) < session.layers.size()) {
        // First into layers that survive: a power cut while the image is half written must find all
        // of it.
        push_layer(session, Destination::server_persistent);
        carry(session, Destination::server_persistent, progress);
      }
      note_image_writer(session);
      if (session.layers.empty()) {
        session.record.writes = Destination::direct;
        save(session);
        pause = session.disk->change([](Stack&, bool& direct) { direct = true; });
      } else {
        pause = push_layer(session, Destination::direct);
      }
    }
    publish(session);
  } catch (...) {
    if (session.record.writes != Destination::direct) end_direct(session.record.image);
    claim_image(session, false);
    throw;
  }
  claim_image(session, false);
  return pause;
}

// A station's writes go to its server: without a layer, unless there are others that they must be
// read before, or what they lie on does not survive. Returns the pause in milliseconds.
double StoreImpl::redirect_to_pass(LiveSession& session, Destination destination) {
  tell_upstream(session, destination);
  start_direct(session);
  const Destination from = session.record.writes;
  if (session.begun && (!session.layers.empty() || !is_persistent(from)))
    return push_layer(session, destination);
  session.record.writes = destination;
  save(session);
  return 0;
}

// Returns the pause in milliseconds. A station tells its server afterwards, since what was written
// before may have gone there until now; and if the server is away, it is told when it is next asked
// for something.
double StoreImpl::redirect_to_layer(LiveSession& session, Destination destination) {
  double pause = 0;
  const bool has_passed = is_station() && passes(session.record.writes);
  // Known now in any case; exactly, once the server has been asked.
  if (session.record.writes == Destination::server_persistent && has_written(session) &&
      what_is_written_survives(session.record.writes, session.layers))
    session.record.foundation.writer = session.record.writer;
  if (session.begun)
    pause = push_layer(session, destination);
  else
    session.record.writes = destination;
  // An engine that starts anew is to know of it.
  if (is_station() && !session.begun) save(session);
  try {
    // What it has not flushed may have to be written there again, as was agreed until now.
    if (is_station() && options_.upstream) {
      const ThrowIfAway throw_if_away;
      session.disk->stack().version->backing().flush();
    }
    if (is_station()) tell_upstream(session, destination);
    if (has_passed) note_foundation(session);
  } catch (const Error& error) {
    // That is what is done, and what the server is told when it is back.
    agreement_.leave(Upstream::Terms{destination, false, false, session.record.writer});
    log("session " + session.record.id + ": the server does not know yet that writes go to " +
        to_string(destination) + ": " + error.what());
  }
  return pause;
}

// At a server: what is different when the session's own station asks. True if all is done.
bool StoreImpl::follow_station(LiveSession& session, const RedirectOptions& options,
                               const RedirectResult& result) {
  if (is_at_client(result.to)) {
    if (result.from == result.to) return true;
    session.record.writes = result.to;
    session.news.push_back({std::time(nullptr), "redirected",
                            std::string(to_string(result.from)) + " to " + to_string(result.to)});
    if (result.from == Destination::direct) {
      session.disk->stack().version->backing().flush();
      end_direct(session.record.image);
    }
    session.begun ? save(session) : publish(session);
    return true;
  }
  require_may_choose(session.record.station, session.record.plan, result.to);
  const bool has_marker = std::ranges::any_of(session.layers, [](const LayerRecord& layer) {
    return is_at_client(layer.destination) && !is_persistent(layer.destination);
  });
  if (options.above_volatile && !has_marker) {
    push_marker(session, Destination::client_ram);
    // What takes the writes must be on top of it at once.
    session.begun = true;
    if (result.from != result.to) return false;
    push_layer(session, result.to);
    publish(session);
    return true;
  }
  // It has been elsewhere, and nothing has come here since.
  const bool goes_on = !options.carry && session.begun && !session.layers.empty() &&
                       session.layers.back().destination == result.to &&
                       session.layers.back().kind == "data" &&
                       !find_viewed_layer(session.layers.back().uuid);
  if (!goes_on) return false;
  session.record.writes = result.to;
  save(session);
  return true;
}

// What takes the writes is full, a layer or, null, what lies below where there are none: the next
// destination of the plan takes its place. False if there is none that will do.
bool StoreImpl::move_on(LiveSession& session, const Layer* full) {
  const std::lock_guard change(session.change_mutex);
  if (session.ended) return false;
  const Stack stack = session.disk->stack();
  use_reserve_if_full();
  const Destination from = session.record.writes;
  const Layer* const top = stack.layers.empty() ? nullptr : stack.layers.front().get();
  if (top != full) return true;  // another request has seen to it
  if (!is_station()) {
    const std::lock_guard lock(mutex_);
    // Its station has the plan, and must know on what its layers lie.
    if (session.is_attached || from == Destination::direct) return false;
  }
  const std::string who = "session " + session.record.id + ": " + to_string(from) + " is full";
  const WritePlan plan = session.record.plan;
  // A carry that failed leaves the writes where its plan does not.
  const auto* const first = plan.find(from) == nullptr ? &plan.steps().front() : plan.after(from);
  for (auto step = first; step != nullptr; step = plan.after(step->destination)) {
    const std::size_t news = session.news.size();
    try {
      require_possible(step->destination);
      if (step->destination == Destination::direct && !is_station())
        throw Error(EINVAL, "an image is only written directly by a redirection of its own");
      session.news.push_back(
          {std::time(nullptr), "overflowed",
           std::string(to_string(from)) + " to " + to_string(step->destination)});
      // So that others who find the same see that there is another top.
      if (passes(step->destination) && session.layers.empty()) push_marker(session, from);
      passes(step->destination) ? redirect_to_pass(session, step->destination)
                                : redirect_to_layer(session, step->destination);
      publish(session);
      log(who + ", so writes go to " + to_string(step->destination) + " now");
      return true;
    } catch (const Error& error) {
      session.news.resize(std::min(news, session.news.size()));
      log(who + ", and " + to_string(step->destination) + " takes no writes: " + error.what());
    }
  }
  if (!session.told_full) log(who + ", and there is no other place for writes");
  session.told_full = true;
  return false;
}

RedirectResult StoreImpl::redirect(const std::string& name, const WritePlan& plan,
                                   const RedirectOptions& options, const Progress& progress) {
  const Destination destination = plan.first();
  if (!options.by_station) require_possible(destination);
  if (options_.upstream) ask_whether_allowed(plan);
  use_reserve_if_full();
  const SessionPtr session = live_session(name);
  if (!session)
    throw Error(EINVAL, "session " + quote(name) +
                            " is at rest; set where its station writes next time with: "
                            "plydisk station set NAME --writes " +
                            to_string(destination));
  const std::lock_guard change(session->change_mutex);
  if (session->ended) throw Error(ESHUTDOWN, "session " + quote(name) + " has ended");
  if (is_station() && plan != session->record.plan)
    require_no_server_sizes(plan, session->record.station);

  require_open_version_here(session->record, destination);

  RedirectResult result;
  result.session = session->record.id;
  result.from = session->record.writes;
  result.to = destination;
  const std::size_t news = session->news.size();
  const WritePlan old_plan = session->record.plan;
  // What a server's plan says of its station is the administrator's.
  if (!options.by_station) session->record.plan = plan;
  const std::string old_writer = session->writer;
  const bool was_on_station = session->on_station;
  if (!options.writer.empty()) session->writer = options.writer;
  if (options.by_station) session->on_station = options.on_station;
  try {
    redirect_locked(*session, options, progress, result);
  } catch (const Error& error) {
    const Destination now = session->record.writes;
    session->writer = old_writer;
    session->on_station = was_on_station;
    if (now == result.from) {
      session->record.plan = old_plan;
      session->news.resize(std::min(news, session->news.size()));
      throw;
    }
    publish(*session);
    throw Error(error.code(), "session " + result.session + " writes to " + to_string(now) +
                                  " now, but not all was done: " + error.what());
  }
  publish(*session);
  if (options.by_station) {
    const std::lock_guard lock(mutex_);
    session->is_attached = true;
  }
  return result;
}

void StoreImpl::redirect_locked(LiveSession& session, const RedirectOptions& options,
                                const Progress& progress, RedirectResult& result) {
  const Destination destination = result.to;
  const bool changes = result.from != destination;
  if (options.by_station && follow_station(session, options, result)) return;
  // What an earlier session left is to be moved, so there must be a place to move it from.
  if (!session.begun && options.carry && !session.layers.empty()) begin_locked(session);
  if (is_station() && changes && destination == Destination::direct)
    require_layers_left(session, options);
  if (is_station() && options.carry && is_persistent(destination))
    require_may_carry(session, destination);
  if (is_station() && options_.upstream && options.carry && passes(destination) &&
      is_persistent(destination))
    return carry_to_server(session, progress, result);
  if (changes) {
    session.news.push_back({std::time(nullptr), "redirected",
                            std::string(to_string(result.from)) + " to " + to_string(destination)});
    if (is_station() && passes(destination))
      result.pause_ms = redirect_to_pass(session, destination);
    else if (destination == Destination::direct)
      result.pause_ms = redirect_to_direct(session, options, progress);
    else
      result.pause_ms = redirect_to_layer(session, destination);
    if (result.from == Destination::direct && !is_station()) {
      session.disk->stack().version->backing().flush();
      end_direct(session.record.image);
    }
    publish(session);
  } else {
    // The writer may be another one, and the plan.
    if (destination == Destination::direct &&
        (session.begun || (options.by_station && options.carry)))
      note_image_writer(session);
    if (session.begun || is_station()) save(session);
    if (session.begun) {
      if (!session.layers.empty())
        session.disk->stack().layers.front()->set_limit(limit_for(session, session.layers.back()));
    }
  }
  session.told_full = false;
  if (session.begun && options.carry && is_persistent(destination)) {
    result.carried = carry(session, destination, progress);
    // What lay at the station is among it.
    if (options.by_station) session.record.on_station = false;
    session.news.push_back(
        {std::time(nullptr), "carried", std::to_string(result.carried) + " bytes"});
    save(session);
  }
  try {
    compact(session);
  } catch (const Error& error) {
    // The redirection itself is done; the layers are merged another time.
    session.news.push_back({std::time(nullptr), "not merged", error.what()});
  }
  result.survives = !session.anonymous && what_is_written_survives(destination, session.layers);
}

}  // namespace plydisk
