#include "control/version_sender.hpp"

#include <vector>

#include "base/error.hpp"
#include "base/thread.hpp"
#include "control/server_link.hpp"
#include "stack/stack.hpp"

namespace plydisk {

namespace {

// On their way at a time: the disk's own requests, which share the way, wait behind no more.
constexpr std::size_t most_sent_bytes = 1 << 20;
constexpr std::size_t most_sent_pieces = 64;
constexpr std::uint64_t longest_zeros = 64 << 20;

// Pieces of the disk that are sent together.
class Batch {
 public:
  Batch() : buffer_(most_sent_bytes) { pieces_.reserve(most_sent_pieces); }

  bool is_full() const {
    return pieces_.size() == most_sent_pieces || used_ + chunk_size > most_sent_bytes;
  }
  const std::vector<NbdConnection::Write>& pieces() const { return pieces_; }
  void clear() {
    pieces_.clear();
    used_ = 0;
  }

  // At most a chunk.
  void add_data(const Layer& layer, std::uint64_t offset, std::size_t length) {
    std::byte* const place = buffer_.data() + used_;
    layer.data().read(place, length, offset);
    used_ += length;
    if (!pieces_.empty() && pieces_.back().data != nullptr && ends_at(offset))
      pieces_.back().length += length;
    else
      pieces_.push_back({offset, length, place, false});
  }
  void add_zeros(std::uint64_t offset, std::uint64_t length) {
    if (!pieces_.empty() && pieces_.back().data == nullptr && ends_at(offset) &&
        pieces_.back().length < longest_zeros)
      pieces_.back().length += length;
    else
      pieces_.push_back({offset, length, nullptr, true});
  }

 private:
  bool ends_at(std::uint64_t offset) const {
    return pieces_.back().offset + pieces_.back().length == offset;
  }

  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;
  std::vector<NbdConnection::Write> pieces_;
};

}  // namespace

void VersionSender::start(std::uint64_t number, OwnLayers own) {
  const std::lock_guard lock(mutex_);
  stop_thread();
  if (is_over_) throw Error(ESHUTDOWN, "the disk's engine is stopping");
  stopping_ = false;
  thread_ = start_without_signals(
      [this, number, own = std::move(own)]() mutable { run(number, std::exchange(own, {})); });
}

void VersionSender::stop() noexcept {
  const std::lock_guard lock(mutex_);
  is_over_ = true;
  stop_thread();
}

void VersionSender::stop_thread() noexcept {
  {
    const std::lock_guard lock(connection_mutex_);
    stopping_ = true;
    if (const auto connection = connection_.lock()) connection->drop();
  }
  if (thread_.joinable()) thread_.join();
}

void VersionSender::run(std::uint64_t number, const OwnLayers& own) {
  std::string failure;
  try {
    // To the end: without it the server takes what has come for a part.
    const auto connection = link_.connect_for_version(number);
    {
      const std::lock_guard lock(connection_mutex_);
      connection_ = connection;
    }
    send(*connection, own);
    return link_.sent(number, "");
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (stopping_) return;
  log_("a version of the disk was not sent to the server: " + failure);
  try {
    link_.sent(number, failure);
  } catch (const std::exception&) {
    // It is away, or finds that nothing comes any more.
  }
}

void VersionSender::send(NbdConnection& connection, const OwnLayers& own) {
  Batch batch;
  const auto flush = [&] {
    if (stopping_) throw Error(ESHUTDOWN, "it is to end");
    const int error = connection.write_all(batch.pieces());
    if (error == NbdConnection::lost) throw Error(ESHUTDOWN, "the connection was lost");
    if (error != 0) throw_errno(error, "the server");
    batch.clear();
  };
  for (const OwnLayers::Chunk& chunk : own.chunks) {
    const std::uint64_t begin = chunk.number * chunk_size;
    const auto add_data = [&](const Layer& layer, unsigned first, unsigned count) {
      if (batch.is_full()) flush();
      batch.add_data(layer, begin + first * sector_size, count * sector_size);
    };
    for_each_newest(own.stack->layers, chunk.number, chunk.data, add_data);
    chunk.zeros.for_each_run([&](unsigned first, unsigned count) {
      if (batch.is_full()) flush();
      batch.add_zeros(begin + first * sector_size, count * sector_size);
    });
  }
  if (!batch.pieces().empty()) flush();
}

}  // namespace plydisk
