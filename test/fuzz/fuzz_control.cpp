// Lines on the control socket: whatever they are, each has an answer that is JSON-RPC, or is a
// notification; the store stays a store.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "control/protocol.hpp"
#include "control/service.hpp"
#include "store/store.hpp"
#include "temporary_directory.hpp"

namespace {

// A store of its own for the life of the fuzzer.
struct Target {
  plydisk::test::TemporaryDirectory folder;
  std::unique_ptr<plydisk::Store> store;
  std::unique_ptr<plydisk::ControlService> service;

  Target() {
    plydisk::Store::init(folder.path() / "store");
    store = plydisk::Store::open(folder.path() / "store");
    service =
        std::make_unique<plydisk::ControlService>(*store, plydisk::ControlService::Role::command);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Target target;
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  static plydisk::ClientDisk disk;
  // Images of any size may be asked for; the fuzzer's disk is not that large.
  if (line.find("image.create") != std::string_view::npos) return 0;
  const auto answer =
      plydisk::answer_request(*target.service, disk, line, [](const nlohmann::json&) {});
  if (answer && answer->line.value("jsonrpc", "") != "2.0") std::abort();
  if (answer) plydisk::to_line(answer->line);
  return 0;
}
