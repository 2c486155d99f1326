// What a station and its server have agreed on: where the session's writes go.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "store/catalogue.hpp"
#include "store/upstream.hpp"

namespace plydisk {

// A server that has forgotten the session, or whose answer was lost, is told again before anything
// is written there: else it would put the writes where its own settings say.
//
// Thread safety: all functions from any thread; tell() by one at a time. They throw as Upstream's.
class ServerAgreement {
 public:
  using Terms = Upstream::Terms;

  // Null: a server that can't be told anything; all functions do nothing.
  explicit ServerAgreement(std::shared_ptr<Upstream> upstream) : upstream_(std::move(upstream)) {}

  // The uuid of the image that the disk is of.
  void expect_image(const std::string& uuid);

  // Asks the server for new terms. If it throws, the old ones stand. `bring_back`: lets a server
  // that does not know the session get to know it, and brings it all that went there.
  void tell(const Terms& terms, bool carry, const std::function<void()>& bring_back);
  // What holds from now on, told or not; none: there is no session.
  void set(const std::optional<Terms>& terms);
  // The same for terms that the server can't be told now: writes go elsewhere, but what went there
  // under the old ones may have to be written there again.
  void leave(const Terms& terms);
  // The session as it lies on what the server has; none: it is not known, or there is none.
  void expect(const std::optional<SessionRecord>& session);
  // Sees to it that the server acts as agreed. `has_unflushed`: something is to be written there
  // again. False: it acts as was agreed when that was written, and when that is flushed this is to
  // be called again without. ESTALE: what it has was changed by others, and the session can't go
  // on.
  bool restore(bool has_unflushed = false);

 private:
  void restore_locked(const std::optional<Terms>& terms);

  const std::shared_ptr<Upstream> upstream_;
  std::mutex mutex_;  // protects the terms, and is held while they are restored
  std::optional<Terms> terms_;
  std::optional<Terms> left_;  // before those, until the server is back
  std::optional<SessionRecord> session_;
  std::string image_;
};

}  // namespace plydisk
