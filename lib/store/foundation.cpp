#include "store/foundation.hpp"

#include "base/error.hpp"
#include "store/catalogue.hpp"
#include "store/names.hpp"

namespace plydisk {

namespace {

constexpr char separator = '/';

}  // namespace

std::string to_string(const Foundation& foundation) {
  return foundation.image_writer + separator + foundation.session + separator + foundation.writer;
}

Foundation parse_foundation(std::string_view text) {
  const auto first = text.find(separator), last = text.rfind(separator);
  if (first == last) throw Error(EINVAL, quote(text) + " does not say what layers lie on");
  const Foundation foundation{std::string(text.substr(0, first)),
                              std::string(text.substr(first + 1, last - first - 1)),
                              std::string(text.substr(last + 1))};
  for (const std::string& name : {foundation.image_writer, foundation.session, foundation.writer})
    if (!name.empty()) require_valid_name("session", name);
  return foundation;
}

Fit compare(const SessionRecord& left, const Foundation& now) {
  if (!left.carrying.empty() && (now.writer == left.carrying || now.image_writer == left.carrying))
    return Fit::carried;
  const auto is_own = [&](const std::string& writer) {
    return !left.writer.empty() && writer == left.writer;
  };
  const Foundation& then = left.foundation;
  const bool image_fits = now.image_writer == then.image_writer || is_own(now.image_writer);
  const bool layers_fit =
      (now.session == then.session && now.writer == then.writer) ||
      (is_own(now.writer) && (then.session.empty() || now.session == then.session)) ||
      (is_own(now.image_writer) && now.session.empty() && then.session.empty() &&
       then.writer.empty());
  return image_fits && layers_fit ? Fit::fits : Fit::differs;
}

bool may_hold(const Foundation& now, const SessionRecord& left, const Passed& passed) {
  const bool has_image =
      passed.to_image.empty() || passed.to_image != left.writer || now.image_writer == left.writer;
  return has_image && (passed.to_layers.empty() || !now.session.empty());
}

}  // namespace plydisk
