#include "control/protocol.hpp"

#include <cstring>

#include "control/service.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

json error_json(int rpc, int code, const std::string& sentence) {
  const char* name = ::strerrorname_np(code);
  return {{"code", rpc},
          {"message", sentence},
          {"data", {{"errno", code}, {"name", name == nullptr ? "" : name}}}};
}

[[noreturn]] void refuse(const std::string& sentence) {
  throw RpcError(rpc_code::invalid_request, EINVAL, sentence);
}

struct Request {
  std::optional<json> id;
  std::string method;
  // Not a copy: copying recurses, and a hostile request is nested as deep as it is long.
  const json* params = nullptr;
};

// Sets the id as soon as it is known, so that a refusal can carry it.
void parse_request(const json& message, Request& request) {
  if (!message.is_object()) refuse("a request must be one JSON object (batches are not taken)");
  if (const auto id = message.find("id"); id != message.end()) {
    if (!id->is_string() && !id->is_number() && !id->is_null())
      refuse("the id of a request must be a string, a number or null");
    request.id = *id;
  }
  const auto version = message.find("jsonrpc");
  if (version == message.end() || *version != "2.0")
    refuse("a request must have \"jsonrpc\":\"2.0\"");
  const auto method = message.find("method");
  if (method == message.end() || !method->is_string())
    refuse("a request must have a method, which is a string");
  request.method = method->get<std::string>();
  static const json no_params = json::object();
  const auto params = message.find("params");
  request.params = params == message.end() ? &no_params : &*params;
}

}  // namespace

json current_error_json() {
  try {
    throw;
  } catch (const RpcError& error) {
    return error_json(error.rpc_code(), error.code(), error.what());
  } catch (const Error& error) {
    return error_json(rpc_code::failed, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return error_json(rpc_code::failed, ENOMEM, "there is not enough memory");
  } catch (const std::exception& error) {
    return error_json(rpc_code::internal_error, EIO, error.what());
  }
}

json error_answer(const json& id, const json& error) {
  return {{"jsonrpc", "2.0"}, {"id", id}, {"error", error}};
}

std::string to_line(const json& message) {
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<Answer> answer_request(ControlService& service, ClientDisk& disk,
                                     std::string_view line,
                                     const std::function<void(const json&)>& notify) {
  const json message = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (message.is_discarded())
    return Answer{
        error_answer(nullptr, error_json(rpc_code::parse_error, EINVAL, "the request is not JSON")),
        {}};
  Request request;
  bool understood = false;
  try {
    parse_request(message, request);
    understood = true;
    json result = service.call(
        request.method, *request.params,
        [&](std::uint64_t done, std::uint64_t total) {
          notify({{"jsonrpc", "2.0"},
                  {"method", "progress"},
                  {"params", {{"done", done}, {"total", total}}}});
        },
        &disk);
    if (!request.id) return std::nullopt;
    Answer answer;
    if (result.is_binary()) {
      answer.data = std::move(result.get_binary());
      result = {{"bytes", answer.data.size()}};
    }
    answer.line = {{"jsonrpc", "2.0"}, {"id", *request.id}, {"result", std::move(result)}};
    return answer;
  } catch (...) {
    // What is no request is always answered: its sender cannot have meant a notification.
    if (understood && !request.id) return std::nullopt;
    return Answer{error_answer(request.id.value_or(nullptr), current_error_json()), {}};
  }
}

}  // namespace plydisk
