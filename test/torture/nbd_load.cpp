#include "nbd_load.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "sector_pattern.hpp"

namespace plydisk::torture {

namespace {

constexpr std::size_t depth = 16;

}  // namespace

struct NbdLoad::Request {
  enum class Kind { write, zero, trim, flush, read };

  NbdLoad* owner;
  Kind kind;
  std::uint64_t first = 0, count = 0;  // sectors that it touches
  std::uint64_t offset = 0, length = 0;
  std::vector<std::byte> after;  // those sectors as they will be; for reads, as they are read
  bool done = false;
};

NbdLoad::NbdLoad(std::string export_name, std::vector<std::byte> content, std::uint64_t seed)
    : export_name_(std::move(export_name)),
      content_(std::move(content)),
      busy_(content_.size() / pattern_size),
      random_(seed) {}

NbdLoad::~NbdLoad() { nbd_close(nbd_); }

bool NbdLoad::is_connected() const {
  return nbd_aio_is_dead(nbd_) == 0 && nbd_aio_is_closed(nbd_) == 0;
}

std::uint64_t NbdLoad::sectors() const { return content_.size() / pattern_size; }

void NbdLoad::fail_call(const char* doing) const {
  throw std::runtime_error("export " + export_name_ + ": cannot " + doing + ": " +
                           (nbd_get_error() == nullptr ? "?" : nbd_get_error()));
}

void NbdLoad::connect_and_check(const std::string& socket) {
  // A handle whose server died stays dead.
  nbd_close(nbd_);
  nbd_ = nbd_create();
  if (nbd_ == nullptr || nbd_set_export_name(nbd_, export_name_.c_str()) < 0 ||
      nbd_connect_unix(nbd_, socket.c_str()) < 0)
    fail_call("connect");
  std::vector<std::byte> found(content_.size());
  constexpr std::size_t piece = 1 << 20;
  for (std::size_t at = 0; at < found.size(); at += piece)
    if (nbd_pread(nbd_, &found[at], std::min(piece, found.size() - at), at, 0) < 0)
      fail_call("read");

  std::vector<const std::byte*> unacknowledged(sectors());
  for (const auto& request : requests_)
    if (request->kind != Request::Kind::read)
      for (std::uint64_t i = 0; i < request->count; ++i)
        unacknowledged[request->first + i] = &request->after[i * pattern_size];
  for (std::uint64_t sector = 0; sector < sectors(); ++sector) {
    const std::byte* const value = &found[sector * pattern_size];
    const std::byte* const expected = &content_[sector * pattern_size];
    const std::byte* const other = unacknowledged[sector];
    if (std::memcmp(value, expected, pattern_size) == 0 ||
        (other != nullptr && std::memcmp(value, other, pattern_size) == 0))
      continue;
    throw std::runtime_error(
        "export " + export_name_ + ", sector " + std::to_string(sector) +
        " after a restart: found " + describe_sector(value) + ", acknowledged was " +
        describe_sector(expected) +
        (other == nullptr ? "" : ", and under way was " + describe_sector(other)));
  }
  content_ = std::move(found);
  requests_.clear();
  std::fill(busy_.begin(), busy_.end(), false);
}

void NbdLoad::make_request() {
  auto request = std::make_unique<Request>();
  request->owner = this;
  const std::uint64_t draw = below(100);
  request->kind = draw < 72   ? Request::Kind::write
                  : draw < 80 ? Request::Kind::zero
                  : draw < 85 ? Request::Kind::trim
                  : draw < 90 ? Request::Kind::flush
                              : Request::Kind::read;
  if (request->kind != Request::Kind::flush) {
    // Half of the requests go to a small part, so that sectors are written again and again.
    const std::uint64_t most = below(8) == 0 ? 300 : 16;
    const std::uint64_t part = below(2) == 0 ? sectors() : sectors() / 16;
    request->first = below(part);
    request->count = 1 + below(std::min(most, sectors() - request->first));
    const auto begin = busy_.begin() + static_cast<std::ptrdiff_t>(request->first);
    const auto end = begin + static_cast<std::ptrdiff_t>(request->count);
    if (std::find(begin, end, true) != end) return;
    std::fill(begin, end, true);
    request->offset = request->first * pattern_size;
    request->length = request->count * pattern_size;
    if (request->kind == Request::Kind::write && below(5) == 0) {
      const std::uint64_t skipped = below(pattern_size);
      request->offset += skipped;
      request->length -= skipped + below(pattern_size - skipped);
    }
    const std::byte* const before = &content_[request->first * pattern_size];
    request->after.assign(before, before + request->count * pattern_size);
    std::byte* const changed = &request->after[request->offset % pattern_size];
    if (request->kind == Request::Kind::write) {
      std::vector<std::byte> fresh(request->after.size());
      for (std::uint64_t i = 0; i < request->count; ++i)
        fill_sector(&fresh[i * pattern_size], request->first + i, generation_);
      std::memcpy(changed, &fresh[request->offset % pattern_size], request->length);
      ++generation_;
    } else if (request->kind != Request::Kind::read) {
      std::memset(changed, 0, request->length);
    }
  }
  Request& made = *requests_.emplace_back(std::move(request));
  const nbd_completion_callback callback{[](void* user, int* error) {
                                           auto* const completed = static_cast<Request*>(user);
                                           completed->owner->complete(*completed, *error);
                                           return 1;
                                         },
                                         &made, nullptr};
  const std::uint32_t fua = below(16) == 0 ? LIBNBD_CMD_FLAG_FUA : 0;
  std::byte* const data = made.after.empty() ? nullptr : &made.after[made.offset % pattern_size];
  std::int64_t cookie = 0;
  switch (made.kind) {
    case Request::Kind::write:
      cookie = nbd_aio_pwrite(nbd_, data, made.length, made.offset, callback, fua);
      break;
    case Request::Kind::zero:
      cookie = nbd_aio_zero(nbd_, made.length, made.offset, callback, fua);
      break;
    case Request::Kind::trim:
      cookie = nbd_aio_trim(nbd_, made.length, made.offset, callback, fua);
      break;
    case Request::Kind::flush:
      cookie = nbd_aio_flush(nbd_, callback, 0);
      break;
    case Request::Kind::read:
      std::fill(made.after.begin(), made.after.end(), std::byte{0xa5});
      cookie = nbd_aio_pread(nbd_, data, made.length, made.offset, callback, 0);
      break;
  }
  // The server may have died, which the next poll finds out.
  (void)cookie;
}

void NbdLoad::complete(Request& request, int error) {
  // Requests are completed with errors when the connection breaks; they stay unacknowledged.
  if (error != 0) {
    if (error != ENOTCONN && fault_.empty())
      fault_ = "export " + export_name_ + ": a request failed: " + std::strerror(error);
    return;
  }
  request.done = true;
  ++acknowledged_;
  if (request.kind == Request::Kind::flush) return;
  std::byte* const known = &content_[request.first * pattern_size];
  if (request.kind != Request::Kind::read) {
    std::copy(request.after.begin(), request.after.end(), known);
  } else if (std::memcmp(known, request.after.data(), request.after.size()) != 0) {
    for (std::uint64_t i = 0; i < request.count; ++i)
      if (std::memcmp(known + i * pattern_size, &request.after[i * pattern_size], pattern_size) !=
          0)
        fault_ = "export " + export_name_ + ", sector " + std::to_string(request.first + i) +
                 ": read " + describe_sector(&request.after[i * pattern_size]) + " instead of " +
                 describe_sector(known + i * pattern_size);
  }
  const auto begin = busy_.begin() + static_cast<std::ptrdiff_t>(request.first);
  std::fill(begin, begin + static_cast<std::ptrdiff_t>(request.count), false);
}

void NbdLoad::poll() {
  nbd_poll(nbd_, 20);
  std::erase_if(requests_, [](const auto& request) { return request->done; });
}

void NbdLoad::run(const std::atomic<bool>& stop, const std::atomic<bool>& killed) {
  while (!stop.load() && is_connected()) {
    while (requests_.size() < depth && is_connected()) make_request();
    poll();
    if (!fault_.empty() && !killed.load()) throw std::runtime_error(fault_);
  }
  if (!stop.load() && !killed.load())
    throw std::runtime_error("export " + export_name_ + ": the connection broke");
}

void NbdLoad::disconnect() {
  while (!requests_.empty() && is_connected()) poll();
  if (!fault_.empty()) throw std::runtime_error(fault_);
  if (!requests_.empty() || nbd_shutdown(nbd_, 0) < 0) fail_call("disconnect");
}

}  // namespace plydisk::torture
