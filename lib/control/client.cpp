#include "control/client.hpp"

#include "base/error.hpp"
#include "control/protocol.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

// An answer may list many thousands of sessions.
constexpr std::size_t longest_answer = std::size_t{256} << 20;

[[noreturn]] void throw_error(const json& error) {
  int code = EIO;
  if (const auto data = error.find("data"); data != error.end()) code = data->value("errno", EIO);
  throw Error(code, error.value("message", "the server gave an error without a message"));
}

}  // namespace

ControlClient::ControlClient(UniqueFd socket) : channel_(std::move(socket), longest_answer) {}

std::optional<ControlClient> ControlClient::connect(const std::filesystem::path& store) {
  std::error_code error;
  if (!std::filesystem::exists(store / "control", error)) return std::nullopt;
  const ControlAddress address(store);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) throw_errno("cannot make a socket");
  if (::connect(socket.get(), address.address(), address.length()) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
    throw_errno("cannot connect to the server at " + address.path().string());
  }
  return ControlClient(std::move(socket));
}

void ControlClient::give_up_if(std::function<bool()> is_pointless) {
  is_pointless_ = is_pointless;
  channel_.give_up_if(std::move(is_pointless));
}

// The server has not answered.
void ControlClient::fail() const {
  if (is_pointless_ && is_pointless_())
    throw Error(EINTR,
                "it was interrupted while the server was at work on it, which gives it up unless "
                "it was nearly done: look what is there");
  throw Error(ECONNRESET,
              "what serves this store went away before it answered: see with \"plydisk status\" "
              "whether it is back, and what it did");
}

json ControlClient::call(const std::string& method, const json& params, const Progress& progress) {
  const std::int64_t id = ++last_id_;
  in_order_ = false;
  // When it can't be sent, the reason may wait to be read: a server that is full says so.
  channel_.write_line(
      to_line({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}}));
  std::string line;
  for (;;) {
    if (channel_.read_line(line) != LineChannel::Got::line) fail();
    const json message = json::parse(line, nullptr, /*allow_exceptions=*/false);
    try {
      if (message.value("method", "") == "progress") {
        if (is_pointless_ && is_pointless_()) fail();
        const json& told = message.at("params");
        if (progress)
          progress(told.at("done").get<std::uint64_t>(), told.at("total").get<std::uint64_t>());
        continue;
      }
      in_order_ = true;
      if (const auto error = message.find("error"); error != message.end()) throw_error(*error);
      if (message.at("id") == id) return message.at("result");
      in_order_ = false;
    } catch (const json::exception&) {
      throw Error(EPROTO, "the server's answer is not understood: is it of another version?");
    }
  }
}

void ControlClient::call_for_data(const std::string& method, const json& params, void* buffer,
                                  std::size_t length) {
  const json result = call(method, params);
  in_order_ = false;
  if (result.value("bytes", std::uint64_t{0}) != length)
    throw Error(EPROTO, "the server's answer is not understood: is it of another version?");
  if (!channel_.read_data(buffer, length)) fail();
  in_order_ = true;
}

}  // namespace plydisk
