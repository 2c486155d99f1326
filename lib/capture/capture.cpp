#include "capture/capture.hpp"

#include <fcntl.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "backing/nbd_uri.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "capture/copy.hpp"
#include "capture/target.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// How far a capture is: a file with two records of the same, of which the older one is overwritten
// in place. So one of them is whole whatever happens, and a full disk has room for it.
class ProgressRecord {
 public:
  explicit ProgressRecord(const std::filesystem::path& folder) : path_(folder / "progress") {}

  bool exists() const { return std::filesystem::exists(path_); }

  // The byte up to which the capture with this digest is durable; none if it is another one.
  std::optional<std::uint64_t> find(const std::string& digest) const {
    const std::string text = read_text_file(path_);
    std::optional<std::uint64_t> best;
    for (std::size_t at = 0; at < text.size(); at += record_bytes) {
      const json record = json::parse(text.substr(at, record_bytes), nullptr, false);
      if (!record.is_object() || record.value("format", json()) != format ||
          record.value("digest", json()) != digest || !record.contains("done") ||
          !record["done"].is_number_unsigned())
        continue;
      best = std::max(best.value_or(0), record["done"].get<std::uint64_t>());
    }
    return best;
  }

  // Before the first write().
  void open(const std::string& digest, std::uint64_t done) {
    file_ = File::open(path_, O_RDWR | O_CREAT);
    digest_ = digest;
    for (unsigned i = 0; i < records; ++i) write(done);
    sync_directory(path_.parent_path());
  }

  void write(std::uint64_t done) {
    std::string text = json{{"format", format}, {"digest", digest_}, {"done", done}}.dump();
    text.resize(record_bytes - 1, ' ');
    text += '\n';
    file_.write(text.data(), text.size(), next_ * record_bytes);
    file_.sync_data();
    next_ = (next_ + 1) % records;
  }

  void remove() {
    file_ = File();
    if (std::filesystem::remove(path_)) sync_directory(path_.parent_path());
  }

 private:
  static constexpr unsigned format = 1, records = 2;
  static constexpr std::size_t record_bytes = 512;
  std::filesystem::path path_;
  File file_;
  std::string digest_;
  unsigned next_ = 0;  // of the records, the one to be overwritten
};

class Capture {
 public:
  explicit Capture(const CaptureOptions& options)
      : options_(options), record_(options.folder), source_(options.source, options.force) {}

  CaptureResult run() {
    // Before the plan, which may take a while.
    if (options_.to.empty())
      source_.require_other(file());
    else
      open_export();
    begin("looking for what is used");
    CaptureResult result{source_.name(), source_.size(), make_plan(source_, plan_options())};
    if (options_.check) options_.check(source_, result.plan);
    if (!target_) target_ = open_file_target(file(), source_.size());
    const std::string digest =
        result.plan.digest + (options_.to.empty() ? "" : " " + target_->name());
    result.continued_at = find_progress(digest);
    copy(result.plan, digest, result.continued_at);
    if (options_.verifies) verify(result.plan);
    return result;
  }

 private:
  std::filesystem::path file() const { return options_.folder / "disk"; }
  PlanOptions plan_options() const { return {options_.force, options_.exclude, options_.note}; }
  void note(const std::string& sentence) const {
    if (options_.note) options_.note(sentence);
  }
  void begin(const std::string& part) const {
    if (options_.begin) options_.begin(part);
  }

  void open_export() {
    target_ = open_nbd_target(options_.to);
    // Only now has its server opened what it writes.
    source_.require_other(options_.to);
    const std::string sizes = target_->name() + " has " + std::to_string(target_->size()) +
                              " bytes, and " + source_.name() + " has " +
                              std::to_string(source_.size());
    if (target_->size() < source_.size()) throw Error(ENOSPC, sizes + ": make the export as large");
    if (target_->size() == source_.size()) return;
    const std::string misplaced =
        ": the copy of a GPT that belongs at the end of the disk would not be there";
    if (!options_.force)
      throw Error(EINVAL, sizes + misplaced +
                              ". Make the export as large as the source; or use --force, and "
                              "move that copy with \"sgdisk --move-second-header\"");
    note(sizes + misplaced);
  }

  // Up to which byte an earlier capture has come.
  std::uint64_t find_progress(const std::string& digest) {
    if (!record_.exists()) return 0;
    if (!options_.restarts) {
      const auto done = record_.find(digest);
      if (done && *done <= source_.size() && target_->has_reached(*done)) return *done;
      note(
          "the source, its file systems or the options are others than in the capture that was "
          "interrupted: it begins anew");
    }
    record_.remove();
    return 0;
  }

  void copy(const CapturePlan& plan, const std::string& digest, std::uint64_t done) {
    begin("copying");
    try {
      record_.open(digest, done);
      copy_disk(
          source_, plan.used, *target_, done,
          [this](std::uint64_t reached) { record_.write(reached); }, options_.progress);
    } catch (const Error& error) {
      if (!is_disk_full(error.code())) throw;
      throw Error(error.code(), std::string(error.what()) +
                                    "; make room, and give the same command again: the capture "
                                    "goes on where it was");
    }
  }

  void verify(const CapturePlan& plan) {
    begin("verifying");
    try {
      verify_disk(source_, plan.used, *target_, options_.progress);
    } catch (const Mismatch& error) {
      record_.remove();
      throw Error(error.code(),
                  std::string(error.what()) + "; the same command begins the capture anew");
    }
  }

  const CaptureOptions& options_;
  ProgressRecord record_;
  CaptureSource source_;
  std::unique_ptr<CaptureTarget> target_;
};

}  // namespace

CaptureResult capture_disk(const CaptureOptions& options) { return Capture(options).run(); }

void forget_progress(const std::filesystem::path& folder) { ProgressRecord(folder).remove(); }

}  // namespace plydisk
