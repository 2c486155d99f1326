#include "kernel_nbd.hpp"

#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/file.hpp"
#include "nbd_device.hpp"

namespace plydisk {

namespace {

using Attributes = std::array<nlattr*, NBD_ATTR_MAX + 1>;

[[noreturn]] void throw_netlink(int code, const std::string& what) {
  throw Error(EIO, what + ": " + nl_geterror(code));
}

// The attributes of a message if it is `command`.
bool parse(nl_msg* message, int command, Attributes& attributes) {
  nlmsghdr* const header = nlmsg_hdr(message);
  return genlmsg_valid_hdr(header, 0) != 0 && genlmsg_hdr(header)->cmd == command &&
         genlmsg_parse(header, 0, attributes.data(), NBD_ATTR_MAX, nullptr) == 0;
}

std::string path_of(unsigned index) { return NbdDevice(index).path(); }

[[noreturn]] void throw_taken(unsigned index) {
  const NbdDevice device(index);
  std::string by_whom;
  if (const auto process = device.connected_by()) {
    by_whom = "it is connected to " + device.backend().value_or("a server") + ", by process " +
              std::to_string(*process);
  } else {
    for (const auto& use : device.uses()) by_whom += (by_whom.empty() ? "" : "; ") + use;
  }
  if (by_whom.empty()) by_whom = "a program had it open, and has no more";
  throw Error(EBUSY, device.path() + " is in use: " + by_whom +
                         ". Take another device, or name none for the first free one");
}

[[noreturn]] void throw_refused(int code, const std::string& what) {
  if (code == EPERM) throw Error(EPERM, what + ": only root may; run it as root");
  if (code == EINVAL)
    throw Error(EINVAL, what + ": the kernel refuses it; its log (dmesg) says why");
  throw_errno(code, what);
}

}  // namespace

void KernelNbd::Closer::operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }

// One request and all that the kernel answers to it.
class KernelNbd::Request {
 public:
  Request(int family, std::uint8_t command)
      : message_(nlmsg_alloc(), nlmsg_free), command_(command) {
    if (!message_ || genlmsg_put(message_.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command,
                                 NBD_GENL_VERSION) == nullptr)
      throw_errno(ENOMEM, "cannot ask the kernel");
  }
  void add(int attribute, std::uint32_t value) {
    check(nla_put_u32(message_.get(), attribute, value));
  }
  void add(int attribute, std::uint64_t value) {
    check(nla_put_u64(message_.get(), attribute, value));
  }
  void add(int attribute, const std::string& value) {
    check(nla_put_string(message_.get(), attribute, value.c_str()));
  }
  void add_socket(int socket) {
    nlattr* const list = nla_nest_start(message_.get(), NBD_ATTR_SOCKETS);
    nlattr* const item = nla_nest_start(message_.get(), NBD_SOCK_ITEM);
    check(list != nullptr && item != nullptr ? 0 : -NLE_NOMEM);
    add(NBD_SOCK_FD, static_cast<std::uint32_t>(socket));
    nla_nest_end(message_.get(), item);
    nla_nest_end(message_.get(), list);
  }

  // Calls `on_answer(attributes)` for an answer, which need not come. Returns 0, or the kernel's
  // errno.
  template <typename OnAnswer>
  int send(nl_sock* socket, OnAnswer on_answer) {
    struct State {
      OnAnswer& on_answer;
      int command;
      bool is_done = false;
      int error = 0;
    } state{on_answer, command_};
    const std::unique_ptr<nl_cb, void (*)(nl_cb*)> callbacks(nl_cb_alloc(NL_CB_DEFAULT), nl_cb_put);
    if (!callbacks) throw_errno(ENOMEM, "cannot ask the kernel");
    nl_cb_set(
        callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM,
        [](nl_msg* answer, void* self) -> int {
          auto& of = *static_cast<State*>(self);
          Attributes attributes{};
          if (parse(answer, of.command, attributes)) of.on_answer(attributes);
          return NL_OK;
        },
        &state);
    nl_cb_set(
        callbacks.get(), NL_CB_ACK, NL_CB_CUSTOM,
        [](nl_msg*, void* self) -> int {
          static_cast<State*>(self)->is_done = true;
          return NL_STOP;
        },
        &state);
    nl_cb_err(
        callbacks.get(), NL_CB_CUSTOM,
        [](sockaddr_nl*, nlmsgerr* error, void* self) -> int {
          auto& of = *static_cast<State*>(self);
          of.is_done = true;
          of.error = -error->error;
          return NL_STOP;
        },
        &state);
    if (const int sent = nl_send_auto(socket, message_.get()); sent < 0)
      throw_netlink(sent, "cannot ask the kernel");
    while (!state.is_done) {
      const int received = nl_recvmsgs(socket, callbacks.get());
      if (received < 0 && !state.is_done) throw_netlink(received, "no answer from the kernel");
    }
    return state.error;
  }
  int send(nl_sock* socket) {
    return send(socket, [](const Attributes&) {});
  }

 private:
  static void check(int result) {
    if (result < 0)
      throw Error(ENOMEM, "a request is too long for the kernel: shorten the name of its backend");
  }

  std::unique_ptr<nl_msg, void (*)(nl_msg*)> message_;
  int command_;
};

KernelNbd::KernelNbd() : links_(nl_socket_alloc()), requests_(nl_socket_alloc()) {
  if (!links_ || !requests_) throw_errno(ENOMEM, "cannot make a netlink socket");
  for (nl_sock* const socket : {links_.get(), requests_.get()})
    if (const int failed = genl_connect(socket); failed < 0)
      throw_netlink(failed, "cannot speak to the kernel");
  family_ = genl_ctrl_resolve(requests_.get(), NBD_GENL_FAMILY_NAME);
  if (family_ < 0)
    throw Error(ENODEV, "the kernel has no NBD driver: load it with \"modprobe nbd\"");
  const int group =
      genl_ctrl_resolve_grp(links_.get(), NBD_GENL_FAMILY_NAME, NBD_GENL_MCAST_GROUP_NAME);
  if (group < 0) throw_netlink(group, "this kernel's NBD driver does not tell of dead links");
  nl_socket_disable_seq_check(links_.get());
  if (int failed = nl_socket_add_membership(links_.get(), group);
      failed < 0 || (failed = nl_socket_set_nonblocking(links_.get())) < 0)
    throw_netlink(failed, "cannot listen for dead links");
}

unsigned KernelNbd::connect(std::optional<unsigned> index, const Disk& disk) {
  if (disk.size_bytes == 0 || disk.size_bytes % 512 != 0)
    throw Error(EINVAL, "a disk of " + std::to_string(disk.size_bytes) +
                            " bytes is not of whole sectors of 512: give the image another size");
  Request request(family_, NBD_CMD_CONNECT);
  if (index) request.add(NBD_ATTR_INDEX, static_cast<std::uint32_t>(*index));
  request.add(NBD_ATTR_SIZE_BYTES, disk.size_bytes);
  request.add(NBD_ATTR_BLOCK_SIZE_BYTES, std::uint64_t{512});
  request.add(NBD_ATTR_TIMEOUT, std::uint64_t{0});
  request.add(NBD_ATTR_DEAD_CONN_TIMEOUT, static_cast<std::uint64_t>(disk.dead_link_limit.count()));
  request.add(NBD_ATTR_SERVER_FLAGS, disk.flags);
  request.add(NBD_ATTR_BACKEND_IDENTIFIER, disk.backend);
  request.add_socket(disk.socket);
  auto connected = index;
  const int error = request.send(requests_.get(), [&connected](const Attributes& attributes) {
    if (attributes[NBD_ATTR_INDEX] != nullptr) connected = nla_get_u32(attributes[NBD_ATTR_INDEX]);
  });
  if (error == EBUSY && index) throw_taken(*index);
  if (error != 0)
    throw_refused(error,
                  "cannot make " + (index ? path_of(*index) : "a disk") + " of " + disk.backend);
  if (!connected) throw Error(EIO, "the kernel does not say which device it took");
  return *connected;
}

void KernelNbd::reconfigure(unsigned index, int socket, const std::string& backend) {
  Request request(family_, NBD_CMD_RECONFIGURE);
  request.add(NBD_ATTR_INDEX, static_cast<std::uint32_t>(index));
  request.add(NBD_ATTR_BACKEND_IDENTIFIER, backend);
  request.add_socket(socket);
  const int error = request.send(requests_.get());
  if (error == 0) return;
  if (error == EINVAL) {
    const NbdDevice device(index);
    if (!device.is_connected())
      throw Error(EINVAL, device.path() + " is not connected: attach it anew");
    if (const auto other = device.backend(); other && *other != backend)
      throw Error(EINVAL, device.path() + " is the disk of " + *other + ", not of " + backend);
  }
  throw_refused(error, "cannot give " + path_of(index) + " another connection");
}

void KernelNbd::disconnect(unsigned index) {
  Request request(family_, NBD_CMD_DISCONNECT);
  request.add(NBD_ATTR_INDEX, static_cast<std::uint32_t>(index));
  const int error = request.send(requests_.get());
  if (error == EINVAL) throw Error(ENODEV, "the kernel has no " + path_of(index));
  if (error != 0) throw_refused(error, "cannot disconnect " + path_of(index));
  NbdDevice(index).drop_partitions();
}

std::vector<KernelNbd::Status> KernelNbd::status() {
  std::vector<Status> devices;
  Request request(family_, NBD_CMD_STATUS);
  const int error = request.send(requests_.get(), [&devices](const Attributes& attributes) {
    nlattr* const list = attributes[NBD_ATTR_DEVICE_LIST];
    if (list == nullptr) return;
    int left = 0;
    nlattr* item = nullptr;
    nla_for_each_nested(item, list, left) {
      std::array<nlattr*, NBD_DEVICE_ATTR_MAX + 1> device{};
      if (nla_parse_nested(device.data(), NBD_DEVICE_ATTR_MAX, item, nullptr) == 0 &&
          device[NBD_DEVICE_INDEX] != nullptr && device[NBD_DEVICE_CONNECTED] != nullptr)
        devices.push_back(
            {nla_get_u32(device[NBD_DEVICE_INDEX]), nla_get_u8(device[NBD_DEVICE_CONNECTED]) != 0});
    }
  });
  if (error != 0) throw_refused(error, "cannot list the NBD devices");
  std::sort(devices.begin(), devices.end(),
            [](const Status& a, const Status& b) { return a.index < b.index; });
  return devices;
}

int KernelNbd::link_descriptor() const noexcept { return nl_socket_get_fd(links_.get()); }

std::vector<unsigned> KernelNbd::dead_links() {
  std::vector<unsigned> dead;
  nl_socket_modify_cb(
      links_.get(), NL_CB_VALID, NL_CB_CUSTOM,
      [](nl_msg* message, void* list) -> int {
        Attributes attributes{};
        if (parse(message, NBD_CMD_LINK_DEAD, attributes) && attributes[NBD_ATTR_INDEX] != nullptr)
          static_cast<std::vector<unsigned>*>(list)->push_back(
              nla_get_u32(attributes[NBD_ATTR_INDEX]));
        return NL_OK;
      },
      &dead);
  int received = 0;
  while (received >= 0) received = nl_recvmsgs_default(links_.get());
  // libnl's word for ENOBUFS, after which some are missing.
  if (received == -NLE_NOMEM) {
    for (const Status& device : status())
      if (device.is_taken) dead.push_back(device.index);
  } else if (received != -NLE_AGAIN) {
    throw_netlink(received, "cannot hear of dead links");
  }
  std::sort(dead.begin(), dead.end());
  dead.erase(std::unique(dead.begin(), dead.end()), dead.end());
  return dead;
}

}  // namespace plydisk
