#include <iostream>
#include <memory>

#include "command.hpp"
#include "output.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

void print_layers(const json& layers) {
  Table table({{"ID"},
               {"KIND"},
               {"DESTINATION"},
               {"IMAGE"},
               {"SESSION"},
               {"STATE"},
               {"ALLOCATED", Table::Align::right},
               {"CHUNKS", Table::Align::right}});
  for (const json& layer : layers)
    table.add({printable(layer["id"]), printable(layer["kind"]), printable(layer["destination"]),
               printable(layer["image"]), printable(layer["session"]), printable(layer["state"]),
               size_text(layer["allocated"]), printable(layer["chunks"])});
  std::cout << table.text();
}

void print_layer(const json& layer) {
  Table fields({{}, {}});
  for (const char* field :
       {"id", "kind", "destination", "image", "session", "parent", "state", "chunks", "index"})
    fields.add({field, printable(layer[field])});
  fields.add({"size", size_text(layer["size"])});
  fields.add({"allocated", size_text(layer["allocated"])});
  fields.add({"created", format_time(layer["created"])});
  std::cout << fields.text();
}

void print_check(const json& result) {
  if (result["sound"].get<bool>()) {
    std::cout << "layer " << printable(result["uuid"]) << " is sound\n";
    return;
  }
  for (const json& fault : result["faults"]) std::cout << printable(fault) << "\n";
}

}  // namespace

void add_layer_verbs(CLI::App& app, Command& command) {
  CLI::App* group = add_group(app, "layer", "Layers: what was written, a file and an index each");
  CLI::App* list = add_verb(*group, "list", "List all layers", "  plydisk layer list");
  list->callback([&command] {
    command.run = [&command] {
      return command.show(command.call("layer.list", json::object()), print_layers);
    };
  });
  auto layer = std::make_shared<std::string>();
  CLI::App* show = add_verb(*group, "show", "Show a layer",
                            "  plydisk layer show 5f0c8f3e-3d0e-4c49-9a57-0d8a3c1f7b21");
  show->add_option("ID", *layer, "The layer's uuid")->required();
  show->callback([&command, layer] {
    command.run = [&command, layer] {
      return command.show(command.call("layer.show", {{"layer", *layer}}), print_layer);
    };
  });
  CLI::App* check =
      add_verb(*group, "check", "Check a layer's index and files; exits 1 if there are faults",
               "  plydisk layer check 5f0c8f3e-3d0e-4c49-9a57-0d8a3c1f7b21");
  check->add_option("ID", *layer, "The layer's uuid")->required();
  check->callback([&command, layer] {
    command.run = [&command, layer] {
      const json result = command.call("layer.check", {{"layer", *layer}});
      command.show(result, print_check);
      return result["sound"].get<bool>() ? 0 : 1;
    };
  });
}

}  // namespace plydisk
