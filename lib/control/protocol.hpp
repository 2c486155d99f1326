// JSON-RPC 2.0 as plydisk speaks it: one object a line, no batches, named parameters alone.
//
//   → {"jsonrpc":"2.0","id":1,"method":"image.show","params":{"name":"debian"}}
//   ← {"jsonrpc":"2.0","method":"progress","params":{"done":4096,"total":8192}}    long work only
//   ← {"jsonrpc":"2.0","id":1,"result":{…}}
//   ← {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"a sentence",
//                                      "data":{"errno":16,"name":"EBUSY"}}}
//
// An answer with {"bytes":N} for a result that is bytes has them behind its newline, as they are.
//
// Requests of one client are answered one after the other, in order. A request without an id is
// carried out and not answered.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace plydisk {

class ControlService;
struct ClientDisk;

// Bytes of a request, its newline not counted.
inline constexpr std::size_t longest_request = std::size_t{1} << 20;

namespace rpc_code {
inline constexpr int parse_error = -32700;
inline constexpr int invalid_request = -32600;
inline constexpr int unknown_method = -32601;
inline constexpr int invalid_params = -32602;
inline constexpr int internal_error = -32603;
inline constexpr int failed = -32000;
}  // namespace rpc_code

// An error that has its own JSON-RPC code.
class RpcError : public Error {
 public:
  RpcError(int rpc_code, int code, const std::string& sentence)
      : Error(code, sentence), rpc_code_(rpc_code) {}
  int rpc_code() const noexcept { return rpc_code_; }

 private:
  int rpc_code_;
};

// The error member of an answer, {"code","message","data"}. Call it while handling an exception.
nlohmann::json current_error_json();
nlohmann::json error_answer(const nlohmann::json& id, const nlohmann::json& error);
// Text that is not UTF-8 (file names) has its bad bytes replaced.
std::string to_line(const nlohmann::json& message);

struct Answer {
  nlohmann::json line;
  std::vector<std::uint8_t> data;  // what follows it
};

// Carries out one request. `disk` is the client's, for the methods of a disk. `notify` gets the
// notifications that come before the answer; what it throws cancels the work. Returns the answer;
// none for a request without an id. Throws nothing of its own: all that is wrong with the request
// is in the answer.
std::optional<Answer> answer_request(ControlService& service, ClientDisk& disk,
                                     std::string_view line,
                                     const std::function<void(const nlohmann::json&)>& notify);

}  // namespace plydisk
