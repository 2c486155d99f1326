// A store with a real catalogue and canned answers, for the tests of what lies above it.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "store/store.hpp"
#include "test_support.hpp"

namespace plydisk::test {

class FakeStore : public Store {
 public:
  FakeStore() : FakeStore("") {}
  // `below`: folders to put the store in, to make its path long.
  explicit FakeStore(const std::string& below) {
    path_ = temporary_.path() / below;
    std::filesystem::create_directories(path_);
    Catalogue::create(path_);
    catalogue_.emplace(path_);
  }

  const std::filesystem::path& directory() const override { return path_; }
  Catalogue& catalogue() override { return *catalogue_; }

  // Takes `create_steps` steps, each with progress, `step_time` apart.
  ImageStatus create_image(const NewImage& image, const Progress& progress) override {
    const std::uint64_t size = image.size.value_or(1 << 20);
    for (int step = 0; step < create_steps; ++step) {
      try {
        progress(size * static_cast<unsigned>(step) / static_cast<unsigned>(create_steps), size);
      } catch (const Error& error) {
        cancelled_with = error.code();
        throw;
      }
      std::this_thread::sleep_for(step_time);
    }
    ImageRecord record;
    record.name = image.name;
    record.size = size;
    record.backing = image.from.empty() ? "images/" + image.name + "/disk" : image.from;
    record.linked = image.link;
    record.description = image.description;
    record.writes = image.writes;
    record.created = 1738324800;
    catalogue_->add_image(record);
    return status_of(catalogue_->image(record.name));
  }
  ImageStatus adopt_image(const NewImage& image, const Progress&) override {
    return this->image(image.name);
  }
  std::vector<ImageStatus> images() override {
    std::vector<ImageStatus> result;
    for (const ImageRecord& record : catalogue_->images()) result.push_back(status_of(record));
    return result;
  }
  ImageStatus image(const std::string& name) override { return status_of(catalogue_->image(name)); }
  std::uint64_t version_allocated(const VersionRecord&) override { return 8192; }
  void remove_image(const std::string& name) override { catalogue_->remove_image(name); }
  ImageStatus accept_image(const std::string& name) override { return image(name); }
  void remove_station(const std::string& name) override { catalogue_->remove_station(name); }
  StationRecord rename_station(const std::string& name, const std::string& new_name) override {
    return catalogue_->rename_station(name, new_name);
  }
  void remove_layer(const std::string&) override { throw Error(EBUSY, "the layer is in use"); }
  DiskView view_session(const std::string&) override { return {}; }
  DiskView view_version(const std::string&, unsigned) override { return {}; }
  VersionRecord freeze_version(const std::string&, const std::string&, const Progress&) override {
    return {};
  }

  std::unique_ptr<StationVersion> begin_station_version(const std::string&,
                                                        const std::string&) override {
    return nullptr;
  }
  void freeze_for_station(const ExportName&, const Peer&, std::uint64_t, bool) override {
    throw Error(ENOTSUP, "no stations");
  }
  std::shared_ptr<VersionUpload> version_upload(const ExportName&, const Peer&,
                                                std::uint64_t) override {
    throw Error(ENOTSUP, "no stations");
  }
  OwnLayers freeze_own_layers(const std::string&, std::uint64_t) override { return {}; }

  VersionRecord open_version(const std::string&, const std::string&, unsigned,
                             const std::string&) override {
    return {};
  }
  VersionRecord close_version(const std::string&, unsigned, const Progress&) override { return {}; }
  VersionRecord publish_version(const std::string&, unsigned) override { return {}; }
  VersionRecord test_version(const std::string&, unsigned,
                             const std::vector<std::string>&) override {
    return {};
  }
  void discard_version(const std::string&, unsigned) override {}
  MergeResult merge_versions(const std::string&, unsigned, unsigned, const Progress&) override {
    return {};
  }
  VersionDifference compare_versions(const std::string&, unsigned, unsigned,
                                     const Progress&) override {
    return {};
  }
  Verification verify_version(const std::string&, unsigned, const Progress&) override { return {}; }
  std::vector<std::optional<ChunkHash>> chunk_hashes(const std::string&, unsigned, std::uint64_t,
                                                     std::size_t) override {
    return {};
  }
  Garbage collect_garbage(bool, bool) override { return {}; }
  StoreCheck check(const Progress&) override { return {}; }

  std::vector<SessionName> session_names() override { return {}; }
  std::vector<SessionStatus> sessions() override {
    std::vector<SessionStatus> result;
    for (const SessionRecord& record : catalogue_->sessions()) result.push_back(session(record.id));
    return result;
  }
  SessionStatus session(const std::string& session) override {
    const auto record = catalogue_->find_session(session);
    if (!record) throw Error(ENOENT, "there is no session " + quote(session));
    SessionStatus status;
    status.record = *record;
    status.state = "live";
    status.persistent = is_persistent(record->writes);
    status.connections = 2;
    for (const LayerRecord& layer : catalogue_->session_layers(session))
      status.layers.insert(status.layers.begin(), layer.uuid);
    status.bytes_read = 4096;
    return status;
  }
  void end_session(const std::string& session, bool discard) override {
    if (!discard) throw Error(EINVAL, "the session can only be discarded");
    catalogue_->remove_session(session);
  }
  RedirectResult redirect(const std::string& session, const WritePlan& plan,
                          const RedirectOptions& options, const Progress& progress) override {
    progress(0, 100);
    const Destination destination = plan.first();
    if (destination == Destination::direct && !options.force)
      throw Error(EBUSY, "the image is in use by others");
    RedirectResult result;
    result.session = session;
    result.from = Destination::server_volatile;
    result.to = destination;
    result.pause_ms = 1.5;
    result.carried = options.carry ? 65536 : 0;
    result.survives = options.carry;
    return result;
  }

  std::vector<LayerStatus> layers() override {
    std::vector<LayerStatus> result;
    for (const LayerRecord& record : catalogue_->layers())
      result.push_back({record, 3, 196608, "layers/" + record.uuid});
    return result;
  }
  LayerStatus layer(const std::string& uuid) override {
    const auto record = catalogue_->find_layer(uuid);
    if (!record) throw Error(ENOENT, "there is no layer " + quote(uuid));
    return {*record, 3, 196608, "layers/" + uuid};
  }
  std::vector<std::string> check_layer(const std::string& uuid) override {
    layer(uuid);
    return faults;
  }
  void stop() override {}
  void look_for_servers() override {}
  std::optional<std::string> secret_recipe(const ExportName&, const Peer&) override {
    throw Error(ENOTSUP, "no stations");
  }
  Greeting greet(const ExportName&, const Peer&, const Introduction&) override {
    throw Error(ENOTSUP, "no stations");
  }
  void require_may_choose(const ExportName&, const Peer&, const WritePlan&) override {
    throw Error(ENOTSUP, "no stations");
  }
  Fit fit(const SessionRecord&, const Foundation&) override { return Fit::fits; }
  bool has_ended(const ExportName&, const std::string&) override { return false; }
  StationSession session_with_token(const ExportName&, const Peer&) override {
    throw Error(ENOTSUP, "no stations");
  }
  std::vector<ImageRecord> exports(const Peer&) override { return catalogue_->images(); }
  std::unique_ptr<Connection> connect(const ExportName&, const Peer&, bool) override {
    throw Error(ENOTSUP, "nobody connects here");
  }

  int create_steps = 0;
  std::chrono::milliseconds step_time{0};
  std::atomic<int> cancelled_with{0};  // the errno with which progress ended create_image
  std::vector<std::string> faults;

 private:
  static ImageStatus status_of(const ImageRecord& record) {
    ImageStatus status;
    status.record = record;
    status.state = "ok";
    status.allocated = 8192;
    return status;
  }

  TemporaryDirectory temporary_;
  std::filesystem::path path_;
  std::optional<Catalogue> catalogue_;
};

}  // namespace plydisk::test
