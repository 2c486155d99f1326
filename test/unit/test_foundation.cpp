// Whether what a station has kept fits what its server has.
#include "store/catalogue.hpp"
#include "store/foundation.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;

namespace {

// A session that began above session "s" of the server, which "old" had written last, and an image
// that nobody had written directly.
SessionRecord left() {
  SessionRecord record;
  record.foundation = {"", "s", "old"};
  record.writer = "me";
  return record;
}

}  // namespace

TEST_CASE("a foundation survives being written down") {
  for (const Foundation& foundation :
       {Foundation{}, Foundation{"a", "", ""}, Foundation{"a", "b", "c"}})
    CHECK(parse_foundation(to_string(foundation)) == foundation);
  for (const char* text : {"", "a", "a/b", "a/b/c/d", "a /b/c", "a/b/../c"})
    CHECK(error_of([&] { parse_foundation(text); }).code() == EINVAL);
}

TEST_CASE("layers fit what nobody else has changed since") {
  CHECK(compare(left(), {"", "s", "old"}) == Fit::fits);
  CHECK(compare(left(), {"", "s", "me"}) == Fit::fits);
  CHECK(compare(left(), {"me", "s", "old"}) == Fit::fits);
  SessionRecord first = left();
  first.foundation = {};
  CHECK(compare(first, {}) == Fit::fits);
  CHECK(compare(first, {"", "s", "me"}) == Fit::fits);
  CHECK(compare(first, {"me", "", ""}) == Fit::fits);
}

TEST_CASE("layers do not fit what somebody else has written, or discarded") {
  CHECK(compare(left(), {"", "s", "somebody"}) == Fit::differs);
  CHECK(compare(left(), {"", "other", "old"}) == Fit::differs);
  CHECK(compare(left(), {"", "other", "me"}) == Fit::differs);
  CHECK(compare(left(), {"somebody", "s", "old"}) == Fit::differs);
  CHECK(compare(left(), {}) == Fit::differs);
  // Its direct writes are no sign of what was there.
  CHECK(compare(left(), {"me", "", ""}) == Fit::differs);
  SessionRecord first = left();
  first.foundation = {};
  CHECK(compare(first, {"", "s", "somebody"}) == Fit::differs);
  first.writer.clear();
  CHECK(compare(first, {"", "s", ""}) == Fit::differs);
}

TEST_CASE("what was passed on must be able to be there") {
  CHECK(may_hold({"", "s", "me"}, left(), {"", "me"}));
  CHECK_FALSE(may_hold({"me", "", ""}, left(), {"", "me"}));
  CHECK(may_hold({"me", "", ""}, left(), {"me", ""}));
  CHECK_FALSE(may_hold({"", "s", "me"}, left(), {"me", ""}));
  CHECK(may_hold({"me", "s", "me"}, left(), {"me", "me"}));
  CHECK_FALSE(may_hold({"me", "", ""}, left(), {"me", "me"}));
  // An earlier session's, which was there when this one began.
  CHECK(may_hold({"before", "s", "old"}, left(), {"before", "before"}));
  CHECK(may_hold({"", "", ""}, left(), {}));
}

TEST_CASE("what was carried is known by the name of the attempt") {
  SessionRecord record = left();
  record.carrying = "attempt";
  CHECK(compare(record, {"", "s", "attempt"}) == Fit::carried);
  CHECK(compare(record, {"attempt", "", ""}) == Fit::carried);
  CHECK(compare(record, {"", "s", "old"}) == Fit::fits);
  CHECK(compare(record, {"", "s", "somebody"}) == Fit::differs);
}
