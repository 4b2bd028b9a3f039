// SPDX-License-Identifier: Apache-2.0
#include "daemon/crowding.h"

#include "featherlb/abi.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto window = 1min;
constexpr auto between_warnings = 1h;

} // namespace

void Crowding::look(Loop::Clock::time_point now, std::uint64_t evictions)
{
    looks_.push_back({now, evictions});
    while (looks_.size() > 2 && looks_[1].at <= now - window)
        looks_.pop_front();
    if (recent() == 0 || (warned_at_ && now - *warned_at_ < between_warnings))
        return;
    warned_at_ = now;
    log_.warning(
        "flows.max is too small for the rate of new connections: {} connections that were not proven yet had "
        "to give way to others within {} s of their last packet; see \"How large the flow table has to be\" in "
        "docs/operating.md",
        recent(), FLB_YOUNG_TICKS);
}

std::uint64_t Crowding::recent() const
{
    return looks_.empty() ? 0 : looks_.back().evictions - looks_.front().evictions;
}

} // namespace featherlb
