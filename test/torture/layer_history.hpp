// The life of one station in a real store, recorded: sessions on one image with random requests,
// redirections through all destinations at the server, ends, restarts and reboots, from one thread
// or several.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "disk_worker.hpp"
#include "recorder.hpp"
#include "sector_model.hpp"
#include "store/store.hpp"

namespace plydisk::torture {

inline constexpr const char* image_name = "disk";
inline constexpr const char* station_name = "pc";

class LayerHistory {
 public:
  // Lives in recorder.root(), which must be the present storage_observer. `scratch`: a folder for
  // the file that the image is made from. The seed also decides about threads.
  LayerHistory(Recorder& recorder, const std::filesystem::path& scratch, std::uint64_t seed);
  ~LayerHistory();

  // Throws if a request fails or a value that is read is wrong, without any cut.
  void run();

  const SectorModel& model() const { return *model_; }
  // The store was complete when the log was so long.
  std::uint64_t ready() const { return ready_; }
  unsigned threads() const { return threads_; }

 private:
  void make_store(const std::filesystem::path& scratch);
  void open_store();
  void run_session();
  void connect();
  void check_present(bool rebooted);
  void work(unsigned steps);
  void work_in_threads(unsigned steps);
  void redirect();
  void make_sure_of_layer();
  void leave_session();
  void snapshot_maps();
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  Recorder& recorder_;
  std::mt19937_64 random_;
  const unsigned threads_;  // 1: all in this one
  unsigned boots_ = 0;
  std::uint64_t ready_ = 0;
  std::unique_ptr<SectorModel> model_;
  std::unique_ptr<DiskUnderTest> shared_;
  std::vector<std::unique_ptr<DiskWorker>> workers_;  // the first is this thread's
  std::unique_ptr<Store> store_;
  std::unique_ptr<Store::Connection> connection_;
  Destination writes_ = Destination::server_volatile;
  bool wrote_ = false;  // whether anything was written since the last redirection
};

}  // namespace plydisk::torture
