// The named parameters of one request, checked as they are taken.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "store/destination.hpp"

namespace plydisk {

// All functions throw RpcError (invalid_params) with a sentence that names the method and the
// field. A field that is null counts as not given, except for has().
class Params {
 public:
  // Refuses what is no object, and fields that are not in `known`.
  Params(std::string method, const nlohmann::json& params, const std::vector<const char*>& known);

  bool has(const char* field) const;
  std::string text(const char* field) const;
  std::optional<std::string> optional_text(const char* field) const;
  std::vector<std::string> texts(const char* field) const;
  std::optional<WritePlan> write_plan(const char* field) const;
  bool flag(const char* field) const;                                     // false if not given
  std::optional<std::uint64_t> optional_number(const char* field) const;  // from 0
  std::uint64_t number(const char* field) const;

  [[noreturn]] void refuse(const std::string& sentence) const;

 private:
  // Null if the field is not given.
  const nlohmann::json* find(const char* field) const;
  // Text with a NUL in it would be cut short by the system's calls.
  std::string plain_text(const char* field, const nlohmann::json& value) const;

  std::string method_;
  const nlohmann::json& params_;
};

}  // namespace plydisk
