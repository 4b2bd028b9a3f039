// SPDX-License-Identifier: Apache-2.0
#include "daemon/health_state.h"

#include <algorithm>

namespace featherlb {

namespace {

constexpr std::uint32_t least_needed_by_flapping = 10;

} // namespace

std::uint32_t HealthState::needed(std::uint32_t rise) const
{
    if (!flapping())
        return rise;
    const std::uint32_t doublings = std::min(falls_ - falls_until_flapping, 8u);
    return std::max(rise, std::min(least_needed_by_flapping << doublings, steady_after));
}

HealthState::Change HealthState::take(const CheckResult& result, std::uint32_t rise, std::uint32_t fall)
{
    if (result.kind == CheckResult::Kind::discarded) {
        ++discarded_;
        return Change::none;
    }
    const bool failed = result.kind == CheckResult::Kind::failed;
    ++(failed ? failed_ : good_);
    seconds_ += result.seconds;
    if (failed)
        last_failure_ = result.reason;
    steady_ = failed || down_ ? 0 : steady_ + 1;
    if (steady_ >= steady_after)
        falls_ = 0;
    if (failed == down_) {
        against_ = 0;
        return Change::none;
    }
    if (++against_ < (down_ ? needed(rise) : fall))
        return Change::none;
    down_ = failed;
    against_ = 0;
    falls_ += down_ ? 1 : 0;
    return down_ ? Change::went_down : Change::went_up;
}

} // namespace featherlb
