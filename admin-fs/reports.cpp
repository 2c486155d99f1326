#include "reports.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "control/records.hpp"
#include "field_text.hpp"

namespace plydisk {

void Reports::keep(const std::string& key, nlohmann::json result) {
  result["at"] = time_json(std::time(nullptr));
  std::string text = table_text(result);
  const std::lock_guard lock(mutex_);
  reports_[key] = {++newest_, std::move(text)};
  if (reports_.size() > most)
    reports_.erase(std::ranges::min_element(
        reports_, {}, [](const auto& report) { return report.second.number; }));
}

std::string Reports::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = reports_.find(key);
  return found == reports_.end() ? "" : found->second.text;
}

}  // namespace plydisk
