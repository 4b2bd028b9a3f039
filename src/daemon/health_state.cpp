// SPDX-License-Identifier: Apache-2.0
#include "daemon/health_state.h"

namespace featherlb {

HealthState::Change HealthState::take(const CheckResult& result, std::uint32_t rise, std::uint32_t fall)
{
    if (result.kind == CheckResult::Kind::discarded) {
        ++discarded_;
        return Change::none;
    }
    const bool failed = result.kind == CheckResult::Kind::failed;
    ++(failed ? failed_ : good_);
    if (failed)
        last_failure_ = result.reason;
    if (failed == down_) {
        against_ = 0;
        return Change::none;
    }
    if (++against_ < (down_ ? rise : fall))
        return Change::none;
    down_ = failed;
    against_ = 0;
    return down_ ? Change::went_down : Change::went_up;
}

} // namespace featherlb
