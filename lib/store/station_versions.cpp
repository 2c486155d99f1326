// At a server: versions of what a session has written when a part of it is at its station.
#include <algorithm>
#include <charconv>

#include "base/error.hpp"
#include "base/uuid.hpp"
#include "store/store_impl.hpp"
#include "store/version_work.hpp"

namespace plydisk {

namespace {

// Not to be guessed, and a number that an export's name can have.
std::uint64_t random_number() {
  const std::string digits = random_hex(15);
  std::uint64_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return number;
}

bool has_nothing(const std::vector<std::shared_ptr<Layer>>& layers) {
  return std::ranges::all_of(layers, [](const auto& layer) { return layer->empty(); });
}

}  // namespace

// What others than its maker know of such a version.
class StoreImpl::PendingVersion {
 public:
  PendingVersion(std::shared_ptr<Layer> layer, const std::string& station)
      : number(random_number()),
        upload(std::make_shared<VersionUpload>(std::move(layer), station)) {}

  const std::uint64_t number;
  const std::shared_ptr<VersionUpload> upload;

  // The session's part: first of all what lies below the station's, if more is to come.
  void put(DiskView view, bool goes_on) {
    const std::lock_guard lock(mutex_);
    if (all_.stack) throw Error(EINVAL, "the session's part of the version is fixed already");
    if (view.moment == 0)
      throw Error(EINVAL, "the session has written directly, which is in the image itself already");
    if (goes_on) {
      below_ = std::move(view);
      return;
    }
    if (!below_.stack) below_ = view;
    const auto& all = view.stack->layers;
    const auto& below = below_.stack->layers;
    if (all.size() < below.size() || !std::equal(below.rbegin(), below.rend(), all.rbegin()))
      throw Error(EAGAIN, "the session's layers were merged meanwhile: try again");
    all_ = std::move(view);
  }

  // The layers that the version is made of, newest first, with the station's among them.
  std::vector<std::shared_ptr<Layer>> layers(const std::shared_ptr<Layer>& stations) {
    const std::lock_guard lock(mutex_);
    if (!all_.stack) throw Error(EPROTO, "the station has not said what its layers lie on");
    std::vector<std::shared_ptr<Layer>> layers = all_.stack->layers;
    layers.insert(layers.end() - static_cast<std::ptrdiff_t>(below_.stack->layers.size()),
                  stations);
    return layers;
  }

  void forget_views() {
    const std::lock_guard lock(mutex_);
    below_ = all_ = {};
  }

 private:
  std::mutex mutex_;  // protects all below
  DiskView below_, all_;
};

class StoreImpl::StationVersionImpl final : public StationVersion {
 public:
  StationVersionImpl(StoreImpl& store, const SessionRecord& session)
      : store_(store),
        session_(session),
        work_(store, session.image),
        below_(store.require_closed_base(session)),
        layer_(store.new_version_layer(session.image, below_.layers,
                                       store.catalogue_.image(session.image).size)) {
    try {
      pending_ =
          std::make_shared<PendingVersion>(store.create_version_layer(layer_), session.station);
      const std::lock_guard lock(store_.mutex_);
      store_.pending_versions_[session.id] = pending_;
    } catch (...) {
      store_.remove_layers({layer_});
      throw;
    }
  }
  ~StationVersionImpl() override {
    {
      const std::lock_guard lock(store_.mutex_);
      store_.pending_versions_.erase(session_.id);
    }
    pending_->upload->fail(ESTALE, "nobody waits for this version any more");
    pending_->upload->close();
    if (!is_used_) store_.remove_layers({layer_});
  }

  const SessionRecord& session() const override { return session_; }
  std::uint64_t number() const override { return pending_->number; }

  VersionRecord finish(std::uint64_t bytes, const Progress& progress) override {
    pending_->upload->wait(bytes, progress);
    const LayerRecord layer = make_layer(progress);
    pending_->forget_views();
    merge_session_layers();
    return store_.add_frozen_version(session_, below_, layer, progress);
  }

 private:
  // Of all that the version consists of.
  LayerRecord make_layer(const Progress& progress) {
    const std::shared_ptr<Layer> sent = pending_->upload->close();
    Stack stack;
    stack.layers = pending_->layers(sent);
    if (has_nothing(stack.layers))
      throw Error(EINVAL, "session " + session_.id + " has written nothing");
    std::erase(stack.layers, sent);
    if (!has_nothing(stack.layers)) {
      stack.layers = pending_->layers(sent);
      return store_.fold_to_frozen(below_, stack, layer_.size, progress);
    }
    sent->freeze();
    is_used_ = true;
    return layer_;
  }

  // It has more of them now, if it has not ended meanwhile.
  void merge_session_layers() {
    std::unique_lock lock(store_.mutex_);
    const auto found = store_.live_.find(session_.id);
    if (found == store_.live_.end()) return;
    const SessionPtr session = found->second;
    lock.unlock();
    const std::lock_guard change(session->change_mutex);
    if (!session->ended) store_.compact_if_possible(*session);
  }

  StoreImpl& store_;
  const SessionRecord session_;
  const VersionWork work_;
  const VersionRecord below_;
  const LayerRecord layer_;  // for what the station sends
  bool is_used_ = false;     // it is the version's
  std::shared_ptr<PendingVersion> pending_;
};

std::unique_ptr<Store::StationVersion> StoreImpl::begin_station_version(const std::string& image,
                                                                        const std::string& given) {
  const SessionRecord session = session_to_freeze(image, given);
  if (session.token.empty() || session.ended != 0) return nullptr;
  return std::make_unique<StationVersionImpl>(*this, session);
}

std::shared_ptr<StoreImpl::PendingVersion> StoreImpl::pending_version(const ExportName& name,
                                                                      const Peer& peer,
                                                                      std::uint64_t number) {
  const std::string id = session_with_token(name, peer).status.record.id;
  const std::lock_guard lock(mutex_);
  const auto found = pending_versions_.find(id);
  if (found == pending_versions_.end() || found->second->number != number)
    throw Error(ESTALE, "nobody waits for this version any more");
  return found->second;
}

std::shared_ptr<VersionUpload> StoreImpl::version_upload(const ExportName& name, const Peer& peer,
                                                         std::uint64_t number) {
  return pending_version(name, peer, number)->upload;
}

// Layers are not merged here: a station waits for this, and between its two calls they must not be.
void StoreImpl::freeze_for_station(const ExportName& name, const Peer& peer, std::uint64_t number,
                                   bool goes_on) {
  const auto pending = pending_version(name, peer, number);
  const SessionPtr session = live_session(session_with_token(name, peer).status.record.id);
  if (!session) throw Error(ESHUTDOWN, "the session has ended");
  const std::lock_guard change(session->change_mutex);
  if (session->ended) throw Error(ESHUTDOWN, "session " + session->record.id + " has ended");
  begin_new_top(*session);
  pending->put(frozen_view(*session), goes_on);
}

}  // namespace plydisk
