// Flushing: the half of Layer that makes things durable. The rules are in layer.hpp.

#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/layer.hpp"

namespace plydisk {

namespace {

// Flushes up to these sizes carry their data in the index commit. Larger ones gain nothing by it.
constexpr std::size_t small_flush_chunks = 16;
constexpr std::uint64_t small_flush_bytes = 64 * 1024;
// When so much is pending, the next flush syncs the data file and drops it.
constexpr std::uint64_t most_pending_bytes = 4 << 20;

// Nobody waits for the index of a layer that ends with the machine: it only must not fall so far
// behind that settle() takes long. Under scattered writes each commit has a row for every chunk.
constexpr std::chrono::seconds index_commit_period{30};

}  // namespace

void Layer::flush() {
  if (durability_ == Durability::process) return require_running();
  flush_with_others(false);
}

void Layer::maintain() {
  if (stopped_.load()) return;
  const auto now = std::chrono::steady_clock::now();
  if (durability_ == Durability::process && now >= next_index_commit_ && !dirty_.empty()) {
    next_index_commit_ = now + index_commit_period;
    flush_with_others(false);
  }
  index_->checkpoint_if_large();
}

void Layer::settle() {
  flush_with_others(true);
  settled_.store(true);
}

void Layer::freeze() {
  settle();
  index_->finish();
  index_.reset();
  map_.reset();
  std::filesystem::remove(folder_ / map_name);
  if (durability_ == Durability::durable) sync_directory(folder_);
}

void Layer::flush_with_others(bool drop_pending) {
  std::unique_lock lock(flush_mutex_);
  if (!next_round_) next_round_ = std::make_shared<Round>();
  const auto round = next_round_;
  round->drop_pending |= drop_pending;
  round_done_.wait(lock, [&] { return round->done || !round_running_; });
  if (!round->done) {
    // Nobody is at work: this round is ours, and who comes from now on makes another.
    round_running_ = true;
    next_round_.reset();
    const bool drop = round->drop_pending;
    lock.unlock();
    std::exception_ptr error;
    try {
      flush_round(drop);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    round->error = error;
    round->done = true;
    round_running_ = false;
    round_done_.notify_all();
  }
  if (round->error) std::rethrow_exception(round->error);
}

void Layer::flush_round(bool drop_pending) {
  require_running();
  try {
    save_changes(drop_pending);
  } catch (const Error& error) {
    // A full file system loses nothing, nor a server that is away: save_changes() has marked
    // everything again.
    if (!is_disk_full(error.code()) && !is_unreachable(error.code())) stop();
    throw;
  } catch (...) {
    stop();
    throw;
  }
}

void Layer::stop() noexcept {
  stopped_.store(true);
  // The map of a `process` layer is all that there is.
  if (durability_ == Durability::durable) map_->disbelieve();
}

void Layer::save_changes(bool drop_pending) {
  const bool rewritten = rewritten_.exchange(false);
  // Writers that set a bit, so that others see it, have marked the chunk when this is through.
  for (auto& lock : chunk_locks_) {
    lock.lock();
    lock.unlock();
  }
  std::vector<ChunkChange> changes;
  for (const std::uint64_t chunk : dirty_.take()) changes.push_back({chunk, find(chunk)});
  try {
    if (!rewritten && !drop_pending) {
      if (const auto records = small_records(changes)) {
        if (!changes.empty()) index_->commit(changes, *records, false);
        return;
      }
    }
    sync_and_commit(changes, rewritten, drop_pending);
  } catch (...) {
    for (const auto& change : changes) dirty_.mark(change.chunk);
    rewritten_.store(true);
    throw;
  }
}

void Layer::sync_and_commit(const std::vector<ChunkChange>& changes, bool must_sync,
                            bool drop_pending) {
  const bool has_pending = index_->pending_bytes() > 0;
  if (durability_ == Durability::durable && (must_sync || !changes.empty() || drop_pending)) {
    try {
      if (kind_ == LayerKind::pass)
        sync_backing_();
      else
        data_->file().sync_data();
    } catch (const Error& error) {
      if (is_unreachable(error.code())) throw;
      // The kernel has dropped what it could not write, also when the cause was a full disk.
      throw Error(EIO, error.what());
    }
  }
  if (!changes.empty() || has_pending) index_->commit(changes, {}, has_pending);
}

// The records that carry the data of the changes; none if the data file must be synced instead. The
// caller knows that no sector that had data in the last commit was changed since.
std::optional<std::vector<PendingRecord>> Layer::small_records(
    const std::vector<ChunkChange>& changes) {
  std::vector<PendingRecord> records;
  if (durability_ == Durability::process) return records;
  if (kind_ == LayerKind::pass) return std::nullopt;
  if (changes.size() > small_flush_chunks || index_->pending_bytes() > most_pending_bytes)
    return std::nullopt;
  std::vector<std::pair<std::uint64_t, SectorSet>> fresh;
  std::uint64_t bytes = 0;
  for (const auto& [chunk, state] : changes) {
    const ChunkState committed = index_->find(chunk).value_or(ChunkState{});
    fresh.emplace_back(chunk, state.data() & ~committed.data());
    bytes += fresh.back().second.count() * sector_size;
  }
  if (bytes > small_flush_bytes) return std::nullopt;
  for (const auto& [chunk, sectors] : fresh) {
    // Alone, or a write under way could give a record half a sector.
    FairSharedMutex& mutex = chunk_lock(chunk);
    const std::lock_guard lock(mutex);
    sectors.for_each_run(
        [&, first_of_chunk = chunk * chunk_sectors](unsigned first, unsigned count) {
          PendingRecord record{first_of_chunk + first, std::vector<std::byte>(count * sector_size)};
          data_->file().read(record.data.data(), record.data.size(), record.sector * sector_size);
          records.push_back(std::move(record));
        });
  }
  return records;
}

}  // namespace plydisk
