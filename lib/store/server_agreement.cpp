#include "store/server_agreement.hpp"

#include <utility>

#include "base/error.hpp"

namespace plydisk {

void ServerAgreement::tell(const Terms& terms, bool carry,
                           const std::function<void()>& bring_back) {
  if (!upstream_) return;
  std::optional<Terms> old;
  bool has_left = false;
  {
    const std::lock_guard lock(mutex_);
    has_left = left_.has_value();
  }
  // What went there under the terms that it was told last is to be there first.
  if (has_left && !is_at_client(terms.writes)) bring_back();
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(terms_, terms);
  }
  // Not with the lock: the server may be waited for, and is told by others when it is back.
  try {
    try {
      upstream_->redirect(terms, carry);
    } catch (const Error& error) {
      if (error.code() != ENOENT) throw;
      bring_back();
      upstream_->redirect(terms, carry);
    }
    if (terms.on_station && !terms.above_volatile && is_persistent(terms.writes) &&
        !is_at_client(terms.writes) && !upstream_->session_state().survives)
      throw Error(EBUSY,
                  "the server has writes of this session that do not survive, and these would lie "
                  "on them; --carry keeps all");
  } catch (...) {
    const std::lock_guard lock(mutex_);
    terms_ = old;
    try {
      // It may have done what was asked, and only its answer was lost.
      restore_locked(terms_);
    } catch (const std::exception&) {
      // Then it is away, and will be told when it is back.
    }
    throw;
  }
  const std::lock_guard lock(mutex_);
  left_.reset();
}

void ServerAgreement::set(const std::optional<Terms>& terms) {
  const std::lock_guard lock(mutex_);
  terms_ = terms;
  left_.reset();
}

void ServerAgreement::leave(const Terms& terms) {
  const std::lock_guard lock(mutex_);
  if (!left_ && terms_ && !is_at_client(terms_->writes)) left_ = terms_;
  terms_ = terms;
}

void ServerAgreement::expect(const std::optional<SessionRecord>& session) {
  const std::lock_guard lock(mutex_);
  session_ = session;
}

void ServerAgreement::expect_image(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  image_ = uuid;
}

bool ServerAgreement::restore(bool has_unflushed) {
  const std::lock_guard lock(mutex_);
  if (has_unflushed && left_) {
    restore_locked(left_);
    return false;
  }
  restore_locked(terms_);
  left_.reset();
  return true;
}

void ServerAgreement::restore_locked(const std::optional<Terms>& terms) {
  if (!upstream_ || !terms) return;
  const Upstream::SessionState state = upstream_->session_state();
  if (!image_.empty() && state.image != image_)
    throw Error(ESTALE, "the server has another image by that name now");
  if (session_ && compare(*session_, state.foundation) == Fit::differs)
    throw Error(ESTALE, "others have changed what the disk lies on at the server");
  if (state.writes == terms->writes && state.writer == terms->writer &&
      !(terms->above_volatile && state.survives))
    return;
  upstream_->redirect(*terms, false);
}

}  // namespace plydisk
