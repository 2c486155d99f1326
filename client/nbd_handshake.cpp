#include "nbd_handshake.hpp"

#include <fcntl.h>
#include <linux/nbd.h>

#include "backing/nbd_negotiation.hpp"
#include "base/error.hpp"

namespace plydisk {

namespace {

// Newer than this system's header; kernels that do not know it (before 6.11) ignore it.
constexpr std::uint64_t flag_send_write_zeroes = 1 << 6;

std::uint64_t transmission_flags(nbd_handle* handle) {
  std::uint64_t flags = NBD_FLAG_HAS_FLAGS;
  const auto add_if = [&flags](int answer, std::uint64_t flag) {
    if (answer == 1) flags |= flag;
  };
  add_if(nbd_is_read_only(handle), NBD_FLAG_READ_ONLY);
  add_if(nbd_can_flush(handle), NBD_FLAG_SEND_FLUSH);
  add_if(nbd_can_fua(handle), NBD_FLAG_SEND_FUA);
  add_if(nbd_can_trim(handle), NBD_FLAG_SEND_TRIM);
  add_if(nbd_can_zero(handle), flag_send_write_zeroes);
  add_if(nbd_can_multi_conn(handle), NBD_FLAG_CAN_MULTI_CONN);
  return flags;
}

}  // namespace

NbdHandshake shake_hands(const std::filesystem::path& socket, const std::string& export_name,
                         std::chrono::milliseconds limit) {
  const std::string server = "the export \"" + export_name + "\" at " + socket.string();
  const NbdHandle handle(nbd_create());
  if (!handle || nbd_set_request_structured_replies(handle.get(), false) != 0 ||
      nbd_set_export_name(handle.get(), export_name.c_str()) != 0 ||
      nbd_aio_connect_unix(handle.get(), socket.c_str()) != 0)
    throw_nbd_error(server);
  negotiate(handle.get(), server, limit);

  if (nbd_get_block_size(handle.get(), LIBNBD_SIZE_MINIMUM) > 512)
    throw Error(EINVAL, server +
                            " takes no requests of 512 bytes, as a kernel sends them: serve it "
                            "with a smaller minimum block size");
  NbdHandshake result;
  const std::int64_t size = nbd_get_size(handle.get());
  if (size < 0) throw_nbd_error(server);
  result.size = static_cast<std::uint64_t>(size);
  result.flags = transmission_flags(handle.get());
  result.read_only = (result.flags & NBD_FLAG_READ_ONLY) != 0;
  // The handle is closed without a word to the server: the connection goes on in the duplicate.
  result.socket.reset(::fcntl(nbd_aio_get_fd(handle.get()), F_DUPFD_CLOEXEC, 0));
  if (!result.socket) throw_errno("cannot keep the connection to " + server);
  return result;
}

}  // namespace plydisk
