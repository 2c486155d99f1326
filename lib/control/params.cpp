#include "control/params.hpp"

#include <algorithm>

#include "control/protocol.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

Params::Params(std::string method, const json& params, const std::vector<const char*>& known)
    : method_(std::move(method)), params_(params) {
  if (!params.is_object()) refuse("params must be an object with named fields");
  for (const auto& [field, value] : params.items()) {
    if (std::find(known.begin(), known.end(), field) == known.end())
      refuse("there is no field " + quote(field) +
             suggestion(field, std::vector<std::string>(known.begin(), known.end())));
  }
}

void Params::refuse(const std::string& sentence) const {
  throw RpcError(rpc_code::invalid_params, EINVAL, method_ + ": " + sentence);
}

bool Params::has(const char* field) const { return params_.contains(field); }

const json* Params::find(const char* field) const {
  const auto found = params_.find(field);
  return found == params_.end() || found->is_null() ? nullptr : &*found;
}

std::string Params::plain_text(const char* field, const json& value) const {
  if (!value.is_string()) refuse("the field " + quote(field) + " must be text");
  std::string text = value.get<std::string>();
  if (text.find('\0') != std::string::npos)
    refuse("the field " + quote(field) + " must not have a NUL character");
  return text;
}

std::string Params::text(const char* field) const {
  const json* value = find(field);
  if (value == nullptr) refuse("the field " + quote(field) + " is missing");
  return plain_text(field, *value);
}

std::optional<std::string> Params::optional_text(const char* field) const {
  const json* value = find(field);
  if (value == nullptr) return std::nullopt;
  return plain_text(field, *value);
}

std::vector<std::string> Params::texts(const char* field) const {
  const json* value = find(field);
  if (value == nullptr) return {};
  if (!value->is_array()) refuse("the field " + quote(field) + " must be a list of texts");
  std::vector<std::string> texts;
  for (const json& item : *value) texts.push_back(plain_text(field, item));
  return texts;
}

std::optional<WritePlan> Params::write_plan(const char* field) const {
  const auto text = optional_text(field);
  return text ? std::optional(WritePlan(*text)) : std::nullopt;
}

bool Params::flag(const char* field) const {
  const json* value = find(field);
  if (value == nullptr) return false;
  if (!value->is_boolean()) refuse("the field " + quote(field) + " must be true or false");
  return value->get<bool>();
}

std::optional<std::uint64_t> Params::optional_number(const char* field) const {
  const json* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer() || *value < 0)
    refuse("the field " + quote(field) + " must be a whole number, from 0");
  return value->get<std::uint64_t>();
}

std::uint64_t Params::number(const char* field) const {
  const auto value = optional_number(field);
  if (!value) refuse("the field " + quote(field) + " is missing");
  return *value;
}

}  // namespace plydisk
