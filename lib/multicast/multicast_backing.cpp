#include "multicast/multicast_backing.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/thread.hpp"
#include "multicast/service.hpp"

namespace plydisk {

namespace {

using namespace std::chrono_literals;

// Longer reads are made in parts, so that the server need not send all of one before another
// station's.
constexpr std::uint64_t chunks_at_once = 16;
// How often it is looked whether the connection is still the same, and tried whether a group that
// is silent is heard again.
constexpr auto look_period = 1s;
// After the server could not be asked.
constexpr auto retry_period = 2s;
// Who joins or leaves by hand waits so long to be told what came of it.
constexpr auto settle_limit = 5s;

}  // namespace

// Of a read, inside one chunk.
struct MulticastBacking::Piece {
  std::uint64_t chunk = 0;
  std::size_t in_chunk = 0, length = 0;
  std::byte* to = nullptr;
  bool is_done = false, is_wanted = false;
  std::uint64_t offset() const { return chunk * chunk_size + in_chunk; }
};

MulticastBacking::MulticastBacking(std::shared_ptr<Backing> server,
                                   std::shared_ptr<MulticastUpstream> upstream)
    : server_(std::move(server)),
      upstream_(std::move(upstream)),
      written_(std::make_shared<WrittenChunks>(server_->size())) {}

MulticastBacking::~MulticastBacking() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (keeper_.joinable()) keeper_.join();
}

// --- reading

std::shared_ptr<MulticastMember> MulticastBacking::member() const {
  if (!has_member_.load(std::memory_order_relaxed)) return nullptr;
  const std::lock_guard lock(mutex_);
  return member_ && member_->connection() == server_->connection() ? member_ : nullptr;
}

void MulticastBacking::read(void* buffer, std::size_t length, std::uint64_t offset) const {
  const auto member = this->member();
  if (!member) return server_->read(buffer, length, offset);
  auto* to = static_cast<std::byte*>(buffer);
  // A request waits in vain once at most.
  bool asks = true;
  while (length > 0) {
    const std::uint64_t end = (offset / chunk_size + chunks_at_once) * chunk_size;
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(length, end - offset));
    asks = read_some(*member, to, part, offset, asks);
    to += part;
    offset += part;
    length -= part;
  }
}

// Returns whether the rest of the request may ask.
bool MulticastBacking::read_some(MulticastMember& member, std::byte* to, std::size_t length,
                                 std::uint64_t offset, bool asks) const {
  std::array<Piece, chunks_at_once> room;
  std::size_t count = 0;
  for (std::size_t done = 0; done < length; ++count) {
    Piece& piece = room[count];
    piece.chunk = (offset + done) / chunk_size;
    piece.in_chunk = (offset + done) % chunk_size;
    piece.length = std::min<std::size_t>(length - done, chunk_size - piece.in_chunk);
    piece.to = to + done;
    piece.is_done = member.take(piece.chunk, piece.in_chunk, {piece.to, piece.length});
    piece.is_wanted = !piece.is_done && member.is_wanted(piece.chunk);
    done += piece.length;
  }
  const std::span<Piece> pieces(room.data(), count);
  asks = asks && ask_for(member, pieces);
  std::uint64_t unicast = 0;
  for (auto first = pieces.begin(); first != pieces.end();) {
    if (first->is_done) {
      ++first;
      continue;
    }
    std::size_t bytes = 0;
    auto last = first;
    for (; last != pieces.end() && !last->is_done; ++last) bytes += last->length;
    server_->read(first->to, bytes, first->offset());
    unicast += bytes;
    first = last;
  }
  member.note_read(length - unicast, unicast);
  return asks;
}

// Runs of chunks that are not here: asks for all of one first, and then waits for them. False once
// that was in vain: others may not come either.
bool MulticastBacking::ask_for(MulticastMember& member, std::span<Piece> pieces) const {
  const auto is_wanted = [](const Piece& piece) { return piece.is_wanted; };
  for (auto first = std::ranges::find_if(pieces, is_wanted); first != pieces.end();) {
    if (!member.may_ask()) return false;
    const auto last = std::find_if_not(first, pieces.end(), is_wanted);
    const auto count = static_cast<std::uint64_t>(last - first);
    const std::uint64_t begin = first->chunk * chunk_size;
    const std::uint64_t end = std::min(size(), (first->chunk + count) * chunk_size);
    const Clock::time_point asked = Clock::now();
    member.note_asked(first->chunk, count);
    if (!server_->send_by_multicast(begin, end - begin)) {
      member.note_refused(count);
      return false;
    }
    for (auto piece = first; piece != last; ++piece) {
      if (!member.wait_for(piece->chunk, asked)) return false;
      piece->is_done = member.take(piece->chunk, piece->in_chunk, {piece->to, piece->length});
    }
    first = std::find_if(last, pieces.end(), is_wanted);
  }
  return true;
}

// --- joining, and what goes with it

void MulticastBacking::join() { change(true, settle_limit); }
void MulticastBacking::begin_to_join() { change(true, {}); }
void MulticastBacking::leave() { change(false, settle_limit); }

void MulticastBacking::change(bool is_wanted, Clock::duration limit) {
  std::unique_lock lock(mutex_);
  if (!is_wanted && !keeper_.joinable()) return;
  is_wanted_ = is_wanted;
  const std::uint64_t change = ++changes_;
  is_woken_ = true;
  if (!keeper_.joinable()) keeper_ = start_without_signals([this] { keep(); });
  changed_.notify_all();
  changed_.wait_for(lock, limit, [&] { return settled_ >= change || stopping_; });
}

void MulticastBacking::set_member(std::shared_ptr<MulticastMember> member,
                                  const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (member_ && member_ != member) past_ += member_->counters();
    member_.swap(member);
    has_member_.store(member_ != nullptr);
    reason_ = reason;
  }
  // The old one goes without the lock, which its thread may be waiting for.
  member.reset();
}

void MulticastBacking::keep() {
  Clock::time_point due{};
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::shared_ptr<MulticastMember> member = member_;
    const bool wants_now = is_wanted_;
    const std::uint64_t change = changes_;
    const bool is_asked = settled_ < change;
    is_woken_ = false;
    lock.unlock();
    if (wants_now) {
      if (member && member->connection() != server_->connection()) {
        set_member(nullptr, "the connection to the server is another one");
        due = {};
      }
      if (is_asked || Clock::now() >= due) due = Clock::now() + try_to_join();
    } else if (member) {
      set_member(nullptr, "");
      try {
        upstream_->leave_multicast();
      } catch (const std::exception&) {
        // It is away, or has forgotten us: what is not renewed lapses.
      }
    }
    lock.lock();
    if (is_asked) {
      settled_ = change;
      changed_.notify_all();
    }
    if (wants_now && member_) {
      const std::shared_ptr<MulticastMember> current = member_;
      lock.unlock();
      while (const auto range = current->next_range()) load_hashes(*current, *range);
      if (current->is_silent()) probe(*current);
      lock.lock();
    }
    changed_.wait_for(lock, look_period, [this] { return stopping_ || is_woken_; });
  }
  lock.unlock();
  set_member(nullptr, "");
}

// Returns after how long to do it again.
MulticastBacking::Clock::duration MulticastBacking::try_to_join() {
  const std::uint64_t connection = server_->connection();
  const MulticastCounters counters = status().counters;
  const auto member = this->member();
  try {
    if (connection == 0 || !server_->trouble().empty())
      throw Error(ESHUTDOWN, "the server is away");
    const MulticastOffer offer = upstream_->join_multicast(counters);
    if (member && member->offer() == offer) return multicast_renewal;
    if (offer.disk_size != size()) throw Error(EPROTO, "the server has another size of the disk");
    // On the same machine, interfaces have the same names.
    std::string interface = server_->interface();
    if (interface.empty()) interface = offer.group.interface;
    const auto wake = [this] {
      {
        const std::lock_guard lock(mutex_);
        is_woken_ = true;
      }
      changed_.notify_all();
    };
    auto next = std::make_shared<MulticastMember>(offer, interface, connection, written_, wake);
    {
      const std::lock_guard lock(mutex_);
      interface_ = interface;
    }
    set_member(std::move(next), "");
    return multicast_renewal;
  } catch (const std::exception& error) {
    const auto* const known = dynamic_cast<const Error*>(&error);
    const bool is_away =
        known != nullptr && (known->code() == ESHUTDOWN || known->code() == ETIMEDOUT);
    // One that is only not reached goes on to send, and knows for a while who is subscribed.
    if (!is_away || !member) set_member(nullptr, error.what());
    return is_away ? Clock::duration(retry_period) : Clock::duration(multicast_renewal);
  }
}

void MulticastBacking::load_hashes(MulticastMember& member, std::uint64_t range) {
  try {
    auto hashes = upstream_->multicast_hashes(range);
    // They may be of another server than the one that the member goes with.
    if (member.connection() == server_->connection())
      return member.put_hashes(range, std::move(hashes));
  } catch (const std::exception&) {
    // It is away, and not to be asked again at once.
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, look_period, [this] { return stopping_; });
  }
  member.miss_hashes(range);
}

// Nobody waits for what is sent then.
void MulticastBacking::probe(MulticastMember& member) {
  try {
    const ThrowIfAway throw_if_away;
    const std::uint64_t begin = member.last_asked() * chunk_size;
    server_->send_by_multicast(begin, std::min(chunk_size, size() - begin));
    upstream_->join_multicast(status().counters);
  } catch (const std::exception&) {
    // It is away.
  }
}

MulticastBacking::Status MulticastBacking::status() const {
  Status status;
  std::shared_ptr<MulticastMember> member;
  {
    const std::lock_guard lock(mutex_);
    status.is_wanted = is_wanted_;
    status.reason = is_wanted_ ? reason_ : "";
    status.counters = past_;
    status.interface = interface_;
    member = member_;
  }
  if (!member) return status;
  status.is_joined = true;
  status.is_silent = member->is_silent();
  status.offer = member->offer();
  status.hash_ranges = member->ranges_known();
  status.bytes_kept = member->bytes_kept();
  status.counters += member->counters();
  return status;
}

}  // namespace plydisk
