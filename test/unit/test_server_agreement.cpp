// What a station's server is told, and told again.
#include <utility>

#include "store/server_agreement.hpp"
#include "test_support.hpp"

using namespace plydisk;
using plydisk::test::error_of;

namespace {

using Terms = ServerAgreement::Terms;

// Does as it is told, unless it is to fail before or after it has.
class Server : public Upstream {
 public:
  void require_may_choose(const WritePlan&) override {}
  void redirect(const Terms& terms, bool) override {
    ++asked;
    if (fails_before != 0) throw Error(fails_before, "refused");
    state = {terms.writes,
             is_persistent(terms.writes) && !terms.above_volatile,
             false,
             true,
             terms.writer,
             {},
             ""};
    if (std::exchange(loses_answer, false)) throw Error(ESHUTDOWN, "the answer was lost");
  }
  SessionState session_state() override { return state; }
  void freeze(std::uint64_t, bool) override {}
  void end_session() override {}
  // As a server that has begun anew.
  void forget() { state = {Destination::server_volatile, false, false, false, "", {}, ""}; }

  SessionState state{Destination::server_volatile, false, false, false, "", {}, ""};
  int asked = 0, fails_before = 0;
  bool loses_answer = false;
};

struct AgreementFixture {
  std::shared_ptr<Server> server = std::make_shared<Server>();
  ServerAgreement agreement{server};
  void tell(const Terms& terms) {
    agreement.tell(terms, false, [] {});
  }
};

}  // namespace

TEST_CASE_FIXTURE(AgreementFixture, "another image under the same name ends the agreement") {
  agreement.expect_image("this");
  tell({Destination::server_persistent, false, false, "me"});
  server->state.image = "this";
  agreement.restore();
  server->state.image = "other";
  CHECK(error_of([&] { agreement.restore(); }).code() == ESTALE);
}

TEST_CASE_FIXTURE(AgreementFixture,
                  "a server that has forgotten what was agreed on is told again") {
  tell({Destination::server_persistent, false, false, "me"});
  server->forget();
  agreement.restore();
  CHECK(server->state.writes == Destination::server_persistent);
  CHECK(server->asked == 2);
  // One that has not is left in peace.
  agreement.restore();
  CHECK(server->asked == 2);
  server->state.writer = "somebody";
  agreement.restore();
  CHECK(server->state.writer == "me");
}

TEST_CASE_FIXTURE(AgreementFixture, "what lies on volatile layers is not taken for persistent") {
  tell({Destination::server_persistent, true, false, "me"});
  CHECK_FALSE(server->state.survives);
  server->state.survives = true;
  agreement.restore();
  CHECK_FALSE(server->state.survives);
}

TEST_CASE_FIXTURE(AgreementFixture, "what was refused, or may have been, is not agreed on") {
  tell({Destination::server_volatile, false, false, "me"});
  SUBCASE("refused") {
    server->fails_before = EACCES;
    CHECK(error_of([&] {
            tell({Destination::server_persistent, false, false, "me"});
          }).code() == EACCES);
    server->fails_before = 0;
    agreement.restore();
  }
  SUBCASE("done, and the answer was lost") {
    server->loses_answer = true;
    CHECK(error_of([&] {
            tell({Destination::server_persistent, false, false, "me"});
          }).code() == ESHUTDOWN);
  }
  CHECK(server->state.writes == Destination::server_volatile);
}

TEST_CASE_FIXTURE(AgreementFixture, "a server that does not know the session yet is asked again") {
  server->fails_before = ENOENT;
  agreement.tell({Destination::server_persistent, false, false, "me"}, false,
                 [&] { server->fails_before = 0; });
  CHECK(server->state.writes == Destination::server_persistent);
}

TEST_CASE_FIXTURE(AgreementFixture, "without a session nothing is told") {
  agreement.restore();
  tell({Destination::server_persistent, false, false, "me"});
  agreement.set(std::nullopt);
  server->forget();
  agreement.restore();
  CHECK(server->state.writes == Destination::server_volatile);
  ServerAgreement none(nullptr);
  none.set(Terms{Destination::server_persistent, false, false, "me"});
  none.restore();
}

TEST_CASE_FIXTURE(AgreementFixture,
                  "what went there before writes left is written again as was agreed then") {
  tell({Destination::direct, false, false, "me"});
  agreement.leave({Destination::client_ram, false, false, "me"});
  agreement.leave({Destination::client_volatile, false, false, "me"});
  SUBCASE("the server is as it was") {}
  SUBCASE("it has done what it did not answer") {
    server->redirect({Destination::server_volatile, false, false, "me"}, false);
  }
  CHECK_FALSE(agreement.restore(true));
  CHECK(server->state.writes == Destination::direct);
  CHECK(agreement.restore());
  CHECK(server->state.writes == Destination::client_volatile);
  CHECK(agreement.restore(true));
  CHECK(server->state.writes == Destination::client_volatile);
}

TEST_CASE_FIXTURE(AgreementFixture, "writes come back only after what was left is there") {
  tell({Destination::direct, false, false, "me"});
  agreement.leave({Destination::client_ram, false, false, "me"});
  const Terms back{Destination::server_volatile, false, false, "me"};
  CHECK(error_of([&] {
          agreement.tell(back, false, [] { throw Error(ESHUTDOWN, "away"); });
        }).code() == ESHUTDOWN);
  CHECK(server->state.writes == Destination::direct);
  agreement.tell(back, false, [&] {
    CHECK_FALSE(agreement.restore(true));
    CHECK(agreement.restore());
  });
  CHECK(server->state.writes == Destination::server_volatile);
  CHECK(agreement.restore(true));
  CHECK(server->state.writes == Destination::server_volatile);
}
