// The one implementation of Store, in several files by concern.
//
// Locks, in the order in which they are taken: a session's change_mutex, connect_mutex_, mutex_,
// then a disk's own and the catalogue's. Files are made and removed, and layers opened, without
// mutex_ where it can take long; connect_mutex_ makes arrivals wait for each other meanwhile. It is
// not held while data is copied.
#pragma once

#include <condition_variable>
#include <map>
#include <set>
#include <thread>

#include "backing/backing.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/live_session.hpp"
#include "store/reserve.hpp"
#include "store/server_agreement.hpp"
#include "store/store.hpp"

namespace plydisk {

class StoreImpl final : public Store {
 public:
  StoreImpl(const std::filesystem::path& directory, const StoreOptions& options);
  ~StoreImpl() override;

  const std::filesystem::path& directory() const override { return directory_; }
  Catalogue& catalogue() override { return catalogue_; }

  ImageStatus create_image(const NewImage& image, const Progress& progress) override;
  ImageStatus adopt_image(const NewImage& image, const Progress& progress) override;
  std::vector<ImageStatus> images() override;
  ImageStatus image(const std::string& name) override;
  std::uint64_t version_allocated(const VersionRecord& version) override;
  void remove_image(const std::string& name) override;
  ImageStatus accept_image(const std::string& name) override;
  void remove_station(const std::string& name) override;
  StationRecord rename_station(const std::string& name, const std::string& new_name) override;
  std::vector<SessionStatus> sessions() override;
  std::vector<SessionName> session_names() override;
  SessionStatus session(const std::string& session) override;
  void end_session(const std::string& session, bool discard) override;
  RedirectResult redirect(const std::string& session, const WritePlan& plan,
                          const RedirectOptions& options, const Progress& progress) override;
  std::vector<LayerStatus> layers() override;
  LayerStatus layer(const std::string& uuid) override;
  std::vector<std::string> check_layer(const std::string& uuid) override;
  void remove_layer(const std::string& uuid) override;
  DiskView view_session(const std::string& session) override;
  DiskView view_version(const std::string& image, unsigned number) override;
  VersionRecord freeze_version(const std::string& image, const std::string& session,
                               const Progress& progress) override;
  std::unique_ptr<StationVersion> begin_station_version(const std::string& image,
                                                        const std::string& session) override;
  void freeze_for_station(const ExportName& name, const Peer& peer, std::uint64_t number,
                          bool goes_on) override;
  std::shared_ptr<VersionUpload> version_upload(const ExportName& name, const Peer& peer,
                                                std::uint64_t number) override;
  OwnLayers freeze_own_layers(const std::string& session, std::uint64_t number) override;
  VersionRecord open_version(const std::string& image, const std::string& station, unsigned base,
                             const std::string& comment) override;
  VersionRecord close_version(const std::string& image, unsigned number,
                              const Progress& progress) override;
  VersionRecord publish_version(const std::string& image, unsigned number) override;
  VersionRecord test_version(const std::string& image, unsigned number,
                             const std::vector<std::string>& stations) override;
  void discard_version(const std::string& image, unsigned number) override;
  MergeResult merge_versions(const std::string& image, unsigned first, unsigned last,
                             const Progress& progress) override;
  VersionDifference compare_versions(const std::string& image, unsigned before, unsigned after,
                                     const Progress& progress) override;
  Verification verify_version(const std::string& image, unsigned number,
                              const Progress& progress) override;
  std::vector<std::optional<ChunkHash>> chunk_hashes(const std::string& image, unsigned number,
                                                     std::uint64_t first,
                                                     std::size_t count) override;
  Garbage collect_garbage(bool dry_run, bool unknown) override;
  StoreCheck check(const Progress& progress) override;
  void stop() override;
  void look_for_servers() override;
  std::vector<ImageRecord> exports(const Peer& peer) override;
  std::optional<std::string> secret_recipe(const ExportName& name, const Peer& peer) override;
  Greeting greet(const ExportName& name, const Peer& peer,
                 const Introduction& introduction) override;
  void require_may_choose(const ExportName& name, const Peer& peer, const WritePlan& plan) override;
  Fit fit(const SessionRecord& rest, const Foundation& now) override;
  bool has_ended(const ExportName& name, const std::string& uuid) override;
  StationSession session_with_token(const ExportName& name, const Peer& peer) override;
  std::unique_ptr<Connection> connect(const ExportName& name, const Peer& peer,
                                      bool read_only) override;

 private:
  class ConnectionImpl;
  using SessionPtr = std::shared_ptr<LiveSession>;

  // store_impl.cpp: the folder, the lock, housekeeping
  static UniqueFd take_lock(const std::filesystem::path& directory,
                            std::chrono::milliseconds patience);
  void remove_orphans();
  void end_sessions_of_earlier_boots();
  Catalogue open_catalogue(const std::filesystem::path& directory) const;
  void use_reserve_if_full() const noexcept;
  // Writes down what makes room, or what that needs: on a full file system, too.
  template <typename Fn>
  void with_reserve(const Fn& fn) {
    try {
      return fn();
    } catch (const Error& error) {
      if (!is_disk_full(error.code())) throw;
    }
    const struct Lent {
      const Reserve& reserve;
      const std::uint64_t bytes = reserve.give_up();
      ~Lent() { reserve.take_back(bytes); }
    } lent{reserve_};
    fn();
  }
  // Whether a session of the catalogue, which no one serves, cannot be resumed any more.
  bool is_over(const SessionRecord& record);
  void maintain();
  void maintain_once();
  void close_unused_versions();
  void forget_removed_layers();
  std::chrono::seconds grace(const SessionRecord& session);

  // store_images.cpp
  static constexpr const char* captures_name = "captures";
  ImageRecord new_image_record(const NewImage& image);
  void require_no_capture(const std::string& name) const;
  void add_image(ImageRecord& record,
                 const std::function<void(const std::filesystem::path&)>& make);
  void remove_image_folder(const std::string& name) noexcept;
  std::filesystem::path backing_path(const ImageRecord& image) const;  // not of a server
  // What open_backing() takes.
  std::string backing_of(const ImageRecord& image) const;
  // Throws if the backing is missing, smaller than it was, or changed behind our back.
  void check_backing(const ImageRecord& image) const;
  void record_backing(ImageRecord& image) const;
  // `goes_on`: the session for which it is opened, if that has been here before; else null.
  std::shared_ptr<const Version> load_version(const ImageRecord& image, unsigned number,
                                              const SessionRecord* goes_on);
  ImageStatus status_of(const ImageRecord& image);

  // store_access.cpp and store_connect.cpp
  ExportName full_name(ExportName name);
  // Who comes, and for which image.
  struct Arrival {
    std::optional<StationRecord> record;  // none: unknown
    std::string station;
    ImageRecord image;
    WritePlan plan;
  };
  Arrival receive(const ExportName& name, const Peer& peer);
  void require_may_use(const std::string& image, unsigned number, const std::string& station);
  std::optional<StationRecord> find_station(const ExportName& name, const Peer& peer);
  void require_secret(const StationRecord& station, const ExportName& name,
                      const Introduction& introduction);
  void require_may_choose(const std::string& station, const WritePlan& own, const WritePlan& plan);
  static bool may_come_from(const StationRecord& station, const Peer& peer);
  bool lets_unknown_in(const Peer& peer);
  void require_allowed(const ExportName& name, const std::optional<StationRecord>& station,
                       const Peer& peer);
  std::string image_for(const ExportName& name, const std::optional<StationRecord>& station);
  void require_image_free(const ImageRecord& image, Destination writes, const std::string& except);
  SessionPtr find_live(const std::string& station, const std::string& image);
  std::optional<std::string> image_in_use(const std::string& station,
                                          const std::optional<std::string>& wanted,
                                          const std::string& named);
  std::string new_session_id();
  // Continues a session of the catalogue that no one serves in this process.
  SessionPtr resume(const SessionRecord& record);
  SessionPtr start(const ImageRecord& image, unsigned version, const std::string& station,
                   const WritePlan& plan, const ExportName& name, const Peer& peer);
  // `goes_on`: it is the session that it was.
  SessionPtr make_live(SessionRecord record, std::vector<LayerRecord> layers, bool goes_on);
  WritePlan plan_for(const ExportName& name, const Peer& peer, const std::string& station,
                     const WritePlan& plan) const;
  static bool is_in_use(const LiveSession& session);
  static void require_left(const LiveSession& session);
  static void require_same_peer(const LiveSession& session, const Peer& peer);
  static bool is_newer(const LiveSession& session, const ExportName& name);
  bool join(const SessionPtr& session, const ExportName& name, const Peer& peer);
  void take_token(LiveSession& session, const std::string& token);
  void leave(const SessionPtr& session, bool is_firmware) noexcept;

  // store_foundation.cpp
  void note_passed() noexcept;
  bool may_have_passed(const LayerRecord& layer);
  void recall_agreement(const SessionRecord& session, const std::vector<LayerRecord>& layers);
  void take_foundation(LiveSession& session, const std::optional<SessionRecord>& rest);
  void note_foundation(LiveSession& session);
  void end_leftover();
  Foundation foundation_of(const SessionRecord& session, const std::vector<LayerRecord>& layers);

  // store_sessions.cpp
  bool is_station() const noexcept { return catalogue_.role() == StoreRole::station; }
  // Whether what is written to this destination goes to the backing.
  bool passes(Destination destination) const noexcept {
    return is_station() ? !is_at_client(destination) : destination == Destination::direct;
  }
  void log(const std::string& sentence) const;
  // Where a layer lies that was made.
  std::filesystem::path layer_folder(const std::string& uuid) const;
  std::filesystem::path folder_for(const LayerRecord& record) const;
  std::uint64_t limit_for(const LiveSession& session, const LayerRecord& record) const;
  LayerOptions layer_options(const LayerRecord& record,
                             const std::shared_ptr<Backing>& backing) const;
  std::shared_ptr<Layer> open_layer(const LayerRecord& record,
                                    const std::shared_ptr<Backing>& backing,
                                    std::uint64_t limit = 0);
  std::shared_ptr<Layer> create_layer(const LiveSession& session, const LayerRecord& record);
  LayerRecord new_layer(const LiveSession& session, Destination destination) const;
  static Passed passed_by(const LiveSession& session, Destination destination);
  void begin_writing(LiveSession& session);
  void begin_locked(LiveSession& session);
  bool goes_on_in_top(const LiveSession& session);
  void start_direct(LiveSession& session);
  void note_image_writer(const LiveSession& session);
  void end_direct(const std::string& image) noexcept;
  void save(LiveSession& session);
  void publish(LiveSession& session);
  void require_no_live_session(const std::string& station);
  void tell(const LiveSession& session, const char* event);
  void remove_layers(const std::vector<LayerRecord>& layers) noexcept;
  void drop_layers(const std::vector<LayerRecord>& layers, const std::function<void()>& save);
  bool must_flush_backing(const LiveSession& session) const;
  enum class End { now, if_idle, if_left };
  void finish(const SessionPtr& session, End when, bool discard, const std::string& reason);
  void end_at_server(const std::string& id);
  void finish_record(SessionRecord record, bool discard);
  // Null for one at rest.
  SessionPtr live_session(const std::string& name);
  std::shared_ptr<Layer> find_open_layer(const std::string& uuid);
  std::string session_id(const std::string& name);
  SessionStatus status_of(const SessionRecord& record);
  SessionStatus status_of(LiveSession& session);
  void compare_version(SessionStatus& status, const std::vector<LayerRecord>& layers);
  void look_at_layer(const LayerRecord& record, const std::function<void(Layer&)>& fn);

  // store_views.cpp
  std::shared_ptr<Layer> find_viewed_layer(const std::string& uuid);
  DiskView view_of(const SessionRecord& rest);
  DiskView view_of(LiveSession& session);
  bool top_takes_data(const LiveSession& session) const;
  bool begin_new_top(LiveSession& session);
  void compact_if_possible(LiveSession& session);
  DiskView frozen_view(const LiveSession& session);
  DiskView keep_view(Stack stack, bool changes);
  [[noreturn]] static void refuse_remote(const SessionRecord& session);
  void require_all_here(const SessionRecord& session, const std::vector<LayerRecord>& layers) const;

  // store_versions.cpp
  class VersionWork;
  std::string only_writer(const std::string& image);
  SessionRecord session_to_freeze(const std::string& image, const std::string& given);
  VersionRecord require_closed_base(const SessionRecord& session);
  VersionRecord add_frozen_version(const SessionRecord& session, const VersionRecord& below,
                                   const LayerRecord& layer, const Progress& progress);
  void require_no_version_above(const ImageRecord& image);
  std::optional<VersionRecord> version_open_for(const std::string& image,
                                                const std::string& station);
  VersionRecord require_open(const std::string& image, unsigned number);
  SessionRecord ended_session_of(const VersionRecord& version);
  std::shared_ptr<Layer> create_version_layer(const LayerRecord& record);
  LayerRecord fold_to_frozen(const VersionRecord& below, const Stack& stack, std::uint64_t size,
                             const Progress& progress);
  LayerRecord new_version_layer(const std::string& image, const std::vector<std::string>& below,
                                std::uint64_t size) const;
  void record_versions_in_use(const std::string& image);
  void forget_version(const std::string& image, unsigned number);
  void drop_version_layers(const std::string& image, const std::string& session,
                           const std::function<void()>& change);
  std::vector<VersionRecord> unused_versions();
  void remove_version(const VersionRecord& version);
  void remove_unused_versions() noexcept;

  // store_merge.cpp
  void give_merge_up(const LayerRecord& merged, const Version::FrozenLayer& newest) noexcept;

  // store_upkeep.cpp
  void collect_folders(bool dry_run, bool unknown, Garbage& garbage);
  std::uint64_t free_unused_places(const std::string& image, bool dry_run);

  // station_versions.cpp
  class PendingVersion;
  class StationVersionImpl;
  std::shared_ptr<PendingVersion> pending_version(const ExportName& name, const Peer& peer,
                                                  std::uint64_t number);

  // store_hashes.cpp
  std::filesystem::path hashes_folder(const ImageRecord& image) const;
  std::vector<Version::FrozenLayer> frozen_layers(const VersionRecord& version);
  Verification compare_with_hashes(const ImageRecord& image, const Stack& stack,
                                   const std::vector<Version::FrozenLayer>& layers,
                                   const std::optional<std::vector<std::uint64_t>>& some,
                                   const Progress& progress) const;
  Verification hash_layers(const ImageRecord& image, const VersionRecord& version,
                           const Progress& progress);
  std::uint64_t hash_backing(const ImageRecord& image, const Progress& progress);
  void hash_version(const std::string& image, unsigned number, const Progress& progress);

  // carry.cpp
  void require_may_carry(const LiveSession& session, Destination destination) const;
  bool is_carried(const std::string& name);
  Upstream::SessionState known_state(const LiveSession& session);
  void carry_to_server(LiveSession& session, const Progress& progress, RedirectResult& result);

  // redirect.cpp
  static Upstream::Terms terms_for(const LiveSession& session, Destination destination);
  static void require_layers_left(const LiveSession& session, const RedirectOptions& options);
  void require_may_go_direct(LiveSession& session, const RedirectOptions& options);
  bool waits_for_server(const LiveSession& session, const Layer& layer) const;
  bool may_drop_unused(const LiveSession& session) const;
  double push_layer(LiveSession& session, Destination destination);
  void require_possible(Destination destination) const;
  void require_open_version_here(const SessionRecord& session, Destination destination);
  bool move_on(LiveSession& session, const Layer* full);
  void push_marker(LiveSession& session, Destination destination);
  void ask_whether_allowed(const WritePlan& plan);
  bool follow_station(LiveSession& session, const RedirectOptions& options,
                      const RedirectResult& result);
  void tell_upstream(LiveSession& session, Destination destination);
  static bool has_own_layers(const std::vector<LayerRecord>& layers);
  static bool has_written(const LiveSession& session);
  void bring_back(const LiveSession& session);
  double redirect_to_pass(LiveSession& session, Destination destination);
  double redirect_to_layer(LiveSession& session, Destination destination);
  Destination destination_of_fold(const LiveSession& session, std::size_t first,
                                  std::size_t last) const;
  double redirect_to_direct(LiveSession& session, const RedirectOptions& options,
                            const Progress& progress);
  void redirect_locked(LiveSession& session, const RedirectOptions& options,
                       const Progress& progress, RedirectResult& result);
  void claim_image(LiveSession& session, bool takes);
  std::uint64_t carry(LiveSession& session, Destination destination, const Progress& progress);
  std::uint64_t copy_into_backing(const LiveSession& session, const Progress& progress);
  void drop_all_layers(LiveSession& session);
  std::uint64_t fold_layers(LiveSession& session, std::size_t first, std::size_t last,
                            Destination destination, const Progress& progress);
  void compact(LiveSession& session);

  const std::filesystem::path directory_;
  const StoreOptions options_;
  const std::string boot_id_;
  ServerAgreement agreement_;  // a station's
  UniqueFd lock_;
  const Reserve reserve_;
  Catalogue catalogue_;

  std::mutex connect_mutex_;                // one station is let in at a time
  std::mutex mutex_;                        // protects the maps, and what LiveSession says
  std::map<std::string, SessionPtr> live_;  // by id
  // Sessions of the catalogue that nobody serves and that have not ended: until when they may come
  // back.
  std::map<std::string, LiveSession::Clock::time_point> waiting_;
  std::map<std::string, std::weak_ptr<Backing>> backings_;  // by image
  // Kept open for a while after their last session, so that the next opens at once.
  struct OpenVersion {
    std::shared_ptr<const Version> version;
    LiveSession::Clock::time_point used = LiveSession::Clock::now();
  };
  std::map<std::pair<std::string, unsigned>, OpenVersion> versions_;
  void close_versions(const std::function<bool(OpenVersion&)>& which);

  std::set<std::string> versions_in_work_;  // images of which a verb works on the versions
  // That stations send a part of, by the ids of their sessions.
  std::map<std::string, std::shared_ptr<PendingVersion>> pending_versions_;
  std::set<std::string> closing_;                  // sessions whose layers are becoming a version's
  std::vector<std::weak_ptr<const Stack>> views_;  // of disks, for those who look

  std::vector<std::string>
      removed_;  // layers whose files are gone, and doomed for the catalogue yet

  std::condition_variable finished_;  // with mutex_: a session has left live_
  std::condition_variable wake_;      // with mutex_: stopping_
  bool stopping_ = false;             // protected by mutex_
  std::thread maintenance_;
};

}  // namespace plydisk
